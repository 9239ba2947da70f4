import { formatSize } from "../../base/index.ts";
import type { Region } from "../../index.ts";
import type { CliContext } from "../context.ts";
import { openForWriting } from "../open-region.ts";
import { tell } from "../output.ts";

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
    if (!region.deleted("disk").some((one) => one.name === name)) tell(stderr, `deleted the disk "${name}"`);
    else {
      tell(
        stderr,
        `deleted the disk "${name}"; until its memory is needed this brings it back:`,
        `  perdure disk undelete ${source} ${name}`,
      );
    }
    return;
  }
  const held = pagesOf(region, name);
  const before = region.info().freePages;
  region.disks.purge(name);
  const freed = Math.max(0, region.info().freePages - before);
  tell(stderr, `deleted the disk "${name}" for good; ${describeFreed(freed, held, region.pageBytes)}`);
}

/** What a purge of that name is going to delete holds itself. */
function pagesOf(region: Region, name: string): number {
  const isNamed = (one: { name: string }): boolean => one.name === name;
  return (region.list("disk").find(isNamed) ?? region.deleted("disk").findLast(isNamed))?.pages ?? 0;
}

function describeFreed(freed: number, held: number, pageBytes: number): string {
  const text = `${formatSize(freed * pageBytes)} are free again`;
  if (freed >= held) return freed === 0 ? `${text}, since it held nothing` : text;
  return `${text}; ${formatSize((held - freed) * pageBytes)} stay with the disks that share them`;
}
