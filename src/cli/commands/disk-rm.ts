import { formatSize } from "../../base/index.ts";
import { change } from "../change.ts";
import type { CliContext } from "../context.ts";
import { tell } from "../output.ts";

/** `perdure disk rm`: deletes a disk, or with --purge also one that was deleted before. */
export async function diskRm(
  context: CliContext,
  flags: { purge?: boolean },
  source: string,
  name: string,
): Promise<void> {
  const { stderr } = context.process;
  if (flags.purge === true) {
    const { freedBytes, heldBytes } = await change(context, source, "disk/purge", { name });
    tell(stderr, `deleted the disk "${name}" for good; ${describeFreed(freedBytes, heldBytes)}`);
    return;
  }
  const { kept } = await change(context, source, "disk/remove", { name });
  if (!kept) tell(stderr, `deleted the disk "${name}"`);
  else {
    tell(
      stderr,
      `deleted the disk "${name}"; until its memory is needed this brings it back:`,
      `  perdure disk undelete ${source} ${name}`,
    );
  }
}

function describeFreed(freedBytes: number, heldBytes: number): string {
  const text = `${formatSize(freedBytes)} are free again`;
  if (freedBytes >= heldBytes) return freedBytes === 0 ? `${text}, since it held nothing` : text;
  return `${text}; ${formatSize(heldBytes - freedBytes)} stay with the disks that share them`;
}
