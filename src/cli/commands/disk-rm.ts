import { formatSize } from "../../base/index.ts";
import type { CliContext } from "../context.ts";
import { openForWriting } from "../open-region.ts";
import { print } from "../output.ts";

/** `perdure disk rm`: deletes a disk, or with --purge also one that was deleted before. */
export async function diskRm(
  context: CliContext,
  flags: { purge?: boolean },
  source: string,
  name: string,
): Promise<void> {
  using region = await openForWriting(source);
  const { stderr } = context.process;
  if (flags.purge !== true) {
    region.disks.remove(name);
    print(stderr, `deleted the disk "${name}"; until its blocks are needed, \`perdure disk undelete\` brings it back`);
    return;
  }
  const before = region.info().freePages;
  region.disks.purge(name);
  const freed = (region.info().freePages - before) * region.pageBytes;
  print(stderr, `deleted the disk "${name}" for good; ${formatSize(freed)} are free again`);
}
