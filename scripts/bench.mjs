// `npm run bench`: makes the clone ready, then measures. `npm run bench -- open --quick` measures one thing, quickly.

import { attach, userNode } from "./run.mjs";
import { setup } from "./setup.mjs";

await setup();
process.exit(await attach(userNode, ["dist/bench/main.js", ...process.argv.slice(2)]));
