// The program of a serving thread.

import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { ServingThread } from "./serving-thread.ts";
import type { WorkerStart } from "./worker-mail.ts";

await new ServingThread(workerData as WorkerStart, parentPort as MessagePort).run();
