import { formatSize, PerdureError } from "../../base/index.ts";
import type { CliContext } from "../context.ts";
import { openForWriting } from "../open-region.ts";
import { tell } from "../output.ts";

/** `perdure disk create`: makes a disk. */
export async function diskCreate(
  context: CliContext,
  flags: { size: number },
  source: string,
  name: string,
): Promise<void> {
  using region = await openForWriting(source);
  if (region.disks.has(name)) throw new PerdureError("EEXIST", `${source} has a disk "${name}" already`);
  const disk = region.disks.open(name, { create: true, size: flags.size });
  tell(context.process.stderr, `made the disk "${name}" of ${formatSize(disk.sizeBytes)}`);
}
