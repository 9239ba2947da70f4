import { PerdureError } from "../../base/index.ts";
import type { CliContext } from "../context.ts";
import { openForWriting } from "../open-region.ts";
import { tell } from "../output.ts";

/** `perdure disk undelete`: brings a deleted disk back. */
export async function diskUndelete(
  context: CliContext,
  flags: { as?: string },
  source: string,
  name: string,
): Promise<void> {
  using region = await openForWriting(source);
  const isKept = region.deleted("disk").some((one) => one.name === name);
  if (isKept && flags.as === undefined && region.disks.list().some((one) => one.name === name)) {
    const remedy = `bring it back under another name: perdure disk undelete ${source} ${name} --as NEW-NAME`;
    throw new PerdureError("EEXIST", `there is a disk of the name "${name}" again`, { remedy });
  }
  const disk = region.disks.undelete(name, flags);
  tell(context.process.stderr, `the disk "${disk.name}" is back`);
}
