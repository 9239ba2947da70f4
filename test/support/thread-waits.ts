// A thread that tells who it is, or the number that it gets in a table, and then sleeps until it is terminated.

import { parentPort, workerData } from "node:worker_threads";
import { currentThread } from "../../src/memory/index.ts";
import { ThreadTable } from "../../src/region/thread-table.ts";

const table = workerData as SharedArrayBuffer | null;
parentPort?.postMessage(table === null ? currentThread() : new ThreadTable(table).enter());
for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1000);
