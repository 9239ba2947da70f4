import { change } from "../change.ts";
import type { CliContext } from "../context.ts";
import { tell } from "../output.ts";

/** `perdure disk rename`: gives a disk another name. */
export async function diskRename(
  context: CliContext,
  _flags: object,
  source: string,
  name: string,
  to: string,
): Promise<void> {
  await change(context, source, "disk/rename", { name, to });
  tell(context.process.stderr, `the disk "${name}" is "${to}" now`);
}
