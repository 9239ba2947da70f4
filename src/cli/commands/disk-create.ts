import { formatSize } from "../../base/index.ts";
import { change } from "../change.ts";
import type { CliContext } from "../context.ts";
import { tell } from "../output.ts";

/** `perdure disk create`: makes a disk. */
export async function diskCreate(
  context: CliContext,
  flags: { size: number },
  source: string,
  name: string,
): Promise<void> {
  const { sizeBytes } = await change(context, source, "disk/create", { name, sizeBytes: flags.size });
  tell(context.process.stderr, `made the disk "${name}" of ${formatSize(sizeBytes)}`);
}
