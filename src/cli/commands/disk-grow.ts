import { formatSize } from "../../base/index.ts";
import type { CliContext } from "../context.ts";
import { openForWriting } from "../open-region.ts";
import { tell } from "../output.ts";

/** `perdure disk grow`: makes a disk larger. */
export async function diskGrow(
  context: CliContext,
  flags: { size: number },
  source: string,
  name: string,
): Promise<void> {
  using region = await openForWriting(source);
  const disk = region.disks.open(name);
  const before = disk.sizeBytes;
  disk.grow(flags.size);
  tell(context.process.stderr, `the disk "${name}" grew from ${formatSize(before)} to ${formatSize(disk.sizeBytes)}`);
}
