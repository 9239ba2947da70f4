import { isPerdureError, PerdureError } from "../../base/index.ts";
import { change } from "../change.ts";
import type { CliContext } from "../context.ts";
import { tell } from "../output.ts";

/** `perdure disk undelete`: brings a deleted disk back. */
export async function diskUndelete(
  context: CliContext,
  flags: { as?: string },
  source: string,
  name: string,
): Promise<void> {
  try {
    const disk = await change(context, source, "disk/undelete", { name, as: flags.as });
    tell(context.process.stderr, `the disk "${disk.name}" is back`);
  } catch (error) {
    if (!isPerdureError(error, "EEXIST") || flags.as !== undefined) throw error;
    const remedy = `bring it back under another name: perdure disk undelete ${source} ${name} --as NEW-NAME`;
    throw new PerdureError("EEXIST", `there is a disk of the name "${name}" again`, { remedy });
  }
}
