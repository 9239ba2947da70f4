/** Hazard: two threads of one number, or a thread that is gone and counts as one that works. */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Worker } from "node:worker_threads";
import { maxThreads, ThreadTable } from "../src/region/thread-table.ts";
import { refusal } from "./support/region.ts";
import { nextMessage, startThread } from "./support/threads.ts";

test("numbers are given out from 1 on, and again when they are free", () => {
  const table = new ThreadTable();
  assert.deepEqual([table.enter(), table.enter(), table.enter()], [1, 2, 3]);
  table.leave(2);
  assert.deepEqual(table.numbers, [1, 3]);
  assert.equal(new ThreadTable(table.buffer).enter(), 2);
  assert.deepEqual(table.bury(), []);
  assert.deepEqual(table.numbers, [1, 2, 3]);
});

test("one more thread than there are numbers is refused", () => {
  const table = new ThreadTable();
  for (let k = 0; k < maxThreads; k++) table.enter();
  assert.throws(() => table.enter(), refusal("EBUSY"));
  table.leave(maxThreads);
  assert.equal(table.enter(), maxThreads);
});

/** A table in which a thread that sleeps has number 2. */
async function withSleeper(t: TestContext): Promise<{ table: ThreadTable; worker: Worker }> {
  const table = new ThreadTable();
  table.enter();
  const worker = startThread(t, "./thread-waits.js", table.buffer);
  assert.equal(await nextMessage<number>(worker), 2);
  return { table, worker };
}

test("a thread that was terminated gives its number back, one that sleeps does not", async (t) => {
  const { table, worker } = await withSleeper(t);
  assert.deepEqual(table.bury(), []);
  assert.deepEqual(table.numbers, [1, 2]);
  await worker.terminate();
  assert.deepEqual(table.numbers, [1, 2]);
  assert.deepEqual(table.bury(), []);
  assert.deepEqual(table.numbers, [1]);
});

test("a thread that was terminated inside of an operation is told, and keeps its number", async (t) => {
  const { table, worker } = await withSleeper(t);
  table.countEpoch(2);
  assert.deepEqual(table.bury(), [], "while it lives");
  await worker.terminate();
  assert.deepEqual(table.bury(), [2]);
  assert.deepEqual(table.numbers, [1, 2]);
});
