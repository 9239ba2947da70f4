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
    // A region of format version 0 keeps nothing.
    if (!region.deleted("disk").some((one) => one.name === name)) print(stderr, `deleted the disk "${name}"`);
    else {
      print(
        stderr,
        `deleted the disk "${name}"; until its memory is needed this brings it back:`,
        `  perdure disk undelete ${source} ${name}`,
      );
    }
    return;
  }
  const before = region.info().freePages;
  region.disks.purge(name);
  const freed = (region.info().freePages - before) * region.pageBytes;
  print(stderr, `deleted the disk "${name}" for good; ${formatSize(freed)} are free again`);
}
