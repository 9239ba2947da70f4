import { change } from "../change.ts";
import type { CliContext } from "../context.ts";
import { tell } from "../output.ts";

/** `perdure disk snapshot`: keeps a disk as it is now under another name. */
export async function diskSnapshot(
  context: CliContext,
  _flags: object,
  source: string,
  name: string,
  snapshot: string,
): Promise<void> {
  await change(context, source, "disk/snapshot", { name, snapshot });
  tell(context.process.stderr, `"${snapshot}" is the disk "${name}" as it is now; it shares all blocks with it`);
}
