import type { CliContext } from "../context.ts";
import { openForWriting } from "../open-region.ts";
import { tell } from "../output.ts";

/** `perdure disk rename`: gives a disk another name. */
export async function diskRename(
  context: CliContext,
  _flags: object,
  source: string,
  name: string,
  to: string,
): Promise<void> {
  using region = await openForWriting(source);
  region.disks.open(name).rename(to);
  tell(context.process.stderr, `the disk "${name}" is "${to}" now`);
}
