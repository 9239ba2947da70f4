// A process that works on two regions, one in a thread of its own, while somebody makes their files shorter. It goes on
// touching what it holds, and says what it was told.

import { writeSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { isMainThread, Worker, workerData } from "node:worker_threads";
import { isPerdureError } from "../../src/base/index.ts";
import { type Instance, Region } from "../../src/index.ts";

/** The path of this program. */
export const lostRegionProgram: string = fileURLToPath(import.meta.url);

const INDICES = 400;
const TOUCHES = 500;

/** Reads and replaces pages until that fails. @returns the code, or what was wrong with the data */
function workUntilLost(instance: Instance, say: (line: string) => unknown): string {
  const stamps = new Uint8Array(INDICES);
  for (let k = 0; ; k++) {
    const index = (k * 7) % INDICES;
    try {
      const found = instance.read(index);
      if (found.some((byte) => byte !== stamps[index])) return `wrong data at ${index}`;
      instance.write(index, new Uint8Array(found.length).fill(k));
      stamps[index] = k;
    } catch (error) {
      return isPerdureError(error) ? error.code : String((error as Error).stack);
    }
    if (k === INDICES) say("ready");
  }
}

async function work(path: string, thread: string): Promise<void> {
  const say = (line: string): unknown => writeSync(1, `${thread} ${line}\n`);
  const region = await Region.open(path, { create: true, size: "4M" });
  const instance = region.instance("test", "worked", { create: true });
  using page = region.instance("test", "held", { create: true }).ensure(0);
  const { bytes } = page;
  say(workUntilLost(instance, say));
  // What a program holds is zeroes now, and harmless.
  for (let k = 0; k < TOUCHES; k++) bytes[k] = bytes[(k * 3) % bytes.length] + 1;
  page[Symbol.dispose]();
  // The first close refuses when it is the first to store.
  await region.close().catch(() => region.close());
  say("closed");
}

if (!isMainThread) {
  await work(workerData as string, "worker");
} else if (process.argv[1] === lostRegionProgram) {
  const [, , path, other] = process.argv;
  const worker = new Worker(lostRegionProgram, { workerData: other });
  worker.on("exit", (code) => writeSync(1, `worker ended with ${code}\n`));
  await work(path, "main");
}
