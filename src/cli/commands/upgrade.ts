import type { CliContext } from "../context.ts";
import { openForWriting } from "../open-region.ts";
import { tell } from "../output.ts";

/** `perdure upgrade`: raises a region to the format version of this program. */
export async function upgrade(context: CliContext, _flags: object, source: string): Promise<void> {
  using region = await openForWriting(source);
  const before = region.info().version;
  region.upgrade();
  const { version } = region.info();
  const done = `${source} is of format version ${version}`;
  tell(context.process.stderr, before === version ? `${done} already` : `${done} now; it was ${before}`);
}
