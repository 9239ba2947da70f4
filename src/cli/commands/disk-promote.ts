import { change } from "../change.ts";
import type { CliContext } from "../context.ts";
import { tell } from "../output.ts";

/** `perdure disk promote`: puts a snapshot or a clone in the place of a disk. */
export async function diskPromote(
  context: CliContext,
  _flags: object,
  source: string,
  promoted: string,
  name: string,
): Promise<void> {
  await change(context, source, "disk/promote", { promoted, name });
  tell(
    context.process.stderr,
    `"${name}" is what "${promoted}" holds; what it was before can be brought back:`,
    `  perdure disk undelete ${source} ${name} --as NEW-NAME`,
  );
}
