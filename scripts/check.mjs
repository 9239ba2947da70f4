// `npm run check`: everything that can be said about the code without running its tests.

import { install } from "./setup.mjs";
import { runSteps, steps } from "./steps.mjs";

await install();
const { failed } = await runSteps(steps);
process.exitCode = failed === 0 ? 0 : 1;
