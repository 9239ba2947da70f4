import { formatSize } from "../../base/index.ts";
import { change } from "../change.ts";
import type { CliContext } from "../context.ts";
import { tell } from "../output.ts";

/** `perdure disk grow`: makes a disk larger. */
export async function diskGrow(
  context: CliContext,
  flags: { size: number },
  source: string,
  name: string,
): Promise<void> {
  const { beforeBytes, sizeBytes } = await change(context, source, "disk/grow", { name, sizeBytes: flags.size });
  tell(context.process.stderr, `the disk "${name}" grew from ${formatSize(beforeBytes)} to ${formatSize(sizeBytes)}`);
}
