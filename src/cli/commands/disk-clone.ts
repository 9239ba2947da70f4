import { change } from "../change.ts";
import type { CliContext } from "../context.ts";
import { tell } from "../output.ts";

/** `perdure disk clone`: makes a disk of a snapshot. */
export async function diskClone(
  context: CliContext,
  _flags: object,
  source: string,
  snapshot: string,
  name: string,
): Promise<void> {
  await change(context, source, "disk/clone", { snapshot, name });
  tell(context.process.stderr, `made the disk "${name}"; it shares all blocks with the snapshot "${snapshot}"`);
}
