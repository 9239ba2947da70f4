// What a second thread of a test does with words that it shares with the first.

import { parentPort, workerData } from "node:worker_threads";
import { currentThread } from "../../src/memory/index.ts";
import { FreePages, type SharedFreePages } from "../../src/region/free-pages.ts";
import { acquire } from "../../src/region/locks.ts";
import { ChunkArena, type SharedArena } from "../../src/region/page-table.ts";
import { Pins, type SharedPins } from "../../src/region/pins.ts";
import { below, seeded } from "../../src/testing/index.ts";

/** What a thread is told to do; every one answers with one message. */
export type ThreadAct =
  | { readonly act: "identity" }
  | { readonly act: "hold-lock"; readonly lock: SharedArrayBuffer; readonly thread: number }
  | { readonly act: "take"; readonly shared: SharedFreePages; readonly pages: number; readonly thread: number }
  | { readonly act: "file"; readonly shared: SharedArena; readonly thread: number; readonly indices: number }
  | { readonly act: "pin"; readonly shared: SharedPins; readonly pages: number };

const TURNS = 20_000;

function perform(task: ThreadAct): unknown {
  switch (task.act) {
    case "identity":
      return currentThread();
    case "hold-lock":
      acquire(new Int32Array(task.lock), 0, task.thread);
      return "held";
    case "take":
      return take(new FreePages(task.pages, task.shared, task.thread), task.thread);
    case "file":
      return file(new ChunkArena(task.indices, task.shared, task.thread), task.thread, task.indices);
    case "pin": {
      const pins = new Pins(task.pages, task.shared);
      for (let page = 0; page < task.pages; page++) pins.hold(page);
      for (let page = 0; page < task.pages; page += 2) pins.letGo(page);
      return pins.own;
    }
  }
}

/** Takes and releases pages at random. @returns those that it has in the end */
function take(free: FreePages, seed: number): number[] {
  const random = seeded(seed);
  const out: number[] = [];
  for (let turn = 0; turn < TURNS; turn++) {
    const isTaking = out.length < 20 || (out.length < 60 && below(random, 2) === 0);
    if (!isTaking) free.release(out.splice(below(random, out.length), 1)[0]);
    else {
      const page = free.take(below(random, 4096));
      if (page >= 0) out.push(page);
    }
  }
  return out;
}

/** Sets every index of its own, which lie between those of the others, in a table that all threads fill. */
function file(arena: ChunkArena, thread: number, indices: number): string {
  for (let k = 0; k < indices; k++) {
    if (k % 4 !== thread % 4) continue;
    arena.table(2, 4).set(indexOf(k), k + 1);
    arena.table(2 + thread, 4).set(k, k + 1);
  }
  return "filed";
}

/** Near ones and far ones. */
export const indexOf = (k: number): number => (k % 2 === 0 ? k : (k * 2_654_435_761) >>> 0);

if (workerData !== null) parentPort?.postMessage(perform(workerData as ThreadAct));
