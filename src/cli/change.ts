import { askOwner, type Changes, changes, type Exports } from "../service/index.ts";
import type { CliContext } from "./context.ts";
import { openForWriting } from "./open-region.ts";

/** Nobody is served by a command that has the region to itself. */
const nobody: Exports = {
  add() {},
  async remove(_disk, act) {
    act();
  },
  rename() {},
};

/**
 * Changes a region: through the server that has it open, where there is one, so that its clients see the change; else
 * by opening it.
 *
 * @throws what the change throws, and what Region.open throws
 */
export async function change<Name extends keyof Changes>(
  { process: { env } }: CliContext,
  source: string,
  name: Name,
  input: Changes[Name][0],
): Promise<Changes[Name][1]> {
  const answer = await askOwner(source, env, name, input);
  if (answer !== undefined) return answer.output;
  using region = await openForWriting(source);
  return await changes[name].run({ region, exports: nobody }, input);
}
