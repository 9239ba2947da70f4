// `npm run torture -- --minutes N --seed N`: kills real writers and servers, and searches crash states, for so long.
// Its last lines are one table of figures. A seed repeats what was chosen, not the moments at which processes died.

import { parseArgs } from "node:util";
import { withFigures } from "./figures.mjs";
import { attach, userNode } from "./run.mjs";
import { setup } from "./setup.mjs";

const { values } = parseArgs({
  options: { minutes: { type: "string", default: "10" }, seed: { type: "string" } },
});
const minutes = Number(values.minutes);
const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
if (!(minutes > 0) || !Number.isInteger(seed)) {
  console.error("usage: npm run torture -- [--minutes N] [--seed N]");
  process.exit(2);
}
await setup();
const options = ["--test", "--test-reporter=spec", "dist/test/torture/main.js"];
process.exitCode = await withFigures((figures) =>
  attach(userNode, options, { ...figures, PERDURE_MINUTES: String(minutes), PERDURE_SEED: String(seed) }),
);
