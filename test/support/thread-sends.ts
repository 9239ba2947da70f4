// A thread that begins to send and never ends, until it is terminated.

import { parentPort, workerData } from "node:worker_threads";
import { Senders } from "../../src/region/senders.ts";
import { ThreadTable } from "../../src/region/thread-table.ts";

const table = new ThreadTable(workerData as SharedArrayBuffer);
new Senders(table, table.enter(), true).enter();
parentPort?.postMessage("sending");
for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1000);
