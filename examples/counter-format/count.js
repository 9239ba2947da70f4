// Counts how often it was run: `node count.js FILE`. The file is made by `perdure format` with counter-format.js.

import { attachMemory, openMemory, registerFormat } from "perdure/format";
import { format } from "./counter-format.js";

registerFormat(format);
const memory = openMemory(process.argv[2]);
const attached = attachMemory(memory);
const counter = attached.handle;
counter.add(1);
console.log(`run ${counter.count} times`);
attached.detach();
memory.close();
