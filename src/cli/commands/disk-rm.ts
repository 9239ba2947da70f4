import { formatSize } from "../../base/index.ts";
import type { CliContext } from "../context.ts";
import { openForWriting } from "../open-region.ts";
import { print } from "../output.ts";

/** `perdure disk rm`: deletes a disk. */
export async function diskRm(context: CliContext, _flags: object, source: string, name: string): Promise<void> {
  using region = await openForWriting(source);
  const { allocatedBytes } = region.disks.open(name);
  region.disks.remove(name);
  print(context.process.stderr, `deleted the disk "${name}"; ${formatSize(allocatedBytes)} are free again`);
}
