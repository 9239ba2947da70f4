// A process whose threads hammer one region and tell its parent of every write that returned, until it is killed.

import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { Region } from "../../src/index.ts";
import type { HammerTask } from "./thread-hammer.ts";

/** The path of this program. */
export const processProgram: string = fileURLToPath(import.meta.url);

/** `thread-process PATH WORKERS SEED FIRST`: values count from FIRST on. */
async function main(path: string, workers: number, seed: number, firstValue: number): Promise<void> {
  const region = await Region.open(path);
  for (let worker = 0; worker < workers; worker++) {
    const turns = Number.POSITIVE_INFINITY;
    const task: HammerTask = { handle: region.share(), worker, workers, seed, turns, acknowledge: 1, firstValue };
    const thread = new Worker(new URL("./thread-hammer.js", import.meta.url), { workerData: task });
    thread.on("error", (error) => {
      throw error;
    });
  }
}

if (process.argv[1] === processProgram) {
  const [path, workers, seed, firstValue] = process.argv.slice(2);
  await main(path, Number(workers), Number(seed), Number(firstValue));
}
