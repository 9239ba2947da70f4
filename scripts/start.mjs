// `npm start`: makes the clone ready, then serves the default region in the foreground.

import { attach, userNode } from "./run.mjs";
import { setup } from "./setup.mjs";

await setup();
process.exit(await attach(userNode, ["bin/perdure", "start", ...process.argv.slice(2)]));
