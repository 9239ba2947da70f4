import type { CliContext } from "../context.ts";
import { openForWriting } from "../open-region.ts";
import { print } from "../output.ts";

/** `perdure disk undelete`: brings a deleted disk back. */
export async function diskUndelete(
  context: CliContext,
  flags: { as?: string },
  source: string,
  name: string,
): Promise<void> {
  using region = await openForWriting(source);
  const disk = region.disks.undelete(name, flags);
  print(context.process.stderr, `the disk "${disk.name}" is back`);
}
