/** Hazard: two threads inside of one name, or a thread that waits for itself for ever. */
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { Worker } from "node:worker_threads";
import { acquire, Gate, NameLocks, release, waiting, watchWaits } from "../src/region/locks.ts";
import { inThread } from "./support/threads.ts";

const { wait } = waiting;
afterEach(() => {
  waiting.wait = wait;
});

const word = (): Int32Array => new Int32Array(new SharedArrayBuffer(4));

/** Stands for the other threads: what they do while this one waits. */
function whileWaiting(...acts: (() => void)[]): () => number {
  let waits = 0;
  waiting.wait = () => {
    acts[waits++]();
  };
  return () => waits;
}

test("a lock that is held is waited for until it is released", () => {
  const lock = word();
  acquire(lock, 0, 1);
  const waits = whileWaiting(
    () => assert.equal(lock[0] & 0xffff, 1),
    () => release(lock, 0),
  );
  acquire(lock, 0, 2);
  assert.equal(lock[0], 2);
  assert.equal(waits(), 2);
});

test("a thread that takes a lock twice is a defect, not a wait for ever", () => {
  const lock = word();
  acquire(lock, 0, 3);
  assert.throws(() => acquire(lock, 0, 3), /does not take a lock twice/);
});

test("two threads never hold a lock at once", async () => {
  const shared = new Int32Array(new SharedArrayBuffer(8));
  const rounds = 20_000;
  const code = `
    import { workerData } from "node:worker_threads";
    import { acquire, release } from ${JSON.stringify(new URL("../src/region/locks.js", import.meta.url).href)};
    const { shared, thread, rounds } = workerData;
    for (let k = 0; k < rounds; k++) {
      acquire(shared, 0, thread);
      shared[1] = shared[1] + 1;
      release(shared, 0);
    }`;
  const source = new URL(`data:text/javascript,${encodeURIComponent(code)}`);
  const ends = [1, 2].map((thread) => {
    const worker = new Worker(source, { workerData: { shared, thread, rounds } });
    return new Promise((resolve, reject) => worker.once("exit", resolve).once("error", reject));
  });
  await Promise.all(ends);
  assert.equal(shared[1], 2 * rounds);
});

test("a gate closes when those inside have left, and keeps others out meanwhile", () => {
  const gate = new Gate();
  gate.enter();
  gate.enter();
  const waits = whileWaiting(
    () => gate.leave(),
    () => gate.leave(),
  );
  gate.close(1);
  assert.equal(waits(), 2);
  const entered = whileWaiting(() => gate.open());
  gate.enter();
  assert.equal(entered(), 1);
  gate.leave();
});

test("who waits at a gate is woken when it opens", (t) => {
  const gate = new Gate();
  gate.close(1);
  const notify = t.mock.method(Atomics, "notify");
  let sleepsAt = -1;
  waiting.wait = (_words, at) => {
    sleepsAt = at;
    gate.open();
  };
  gate.enter();
  assert.ok(
    notify.mock.calls.some((call) => call.arguments[1] === sleepsAt),
    "else it sleeps until it looks again",
  );
});

test("a gate whose closing fails is open again", () => {
  const gate = new Gate();
  gate.enter();
  whileWaiting(() => {
    throw new Error("the test ends this thread");
  });
  assert.throws(() => gate.close(1), /ends this thread/);
  gate.enter();
});

test("names are spread over the stripes, neighbours apart", () => {
  const locks = new NameLocks();
  const stripes = Array.from({ length: 4096 }, (_, index) => locks.stripeOf(7, index));
  assert.equal(new Set(stripes).size, locks.words.length);
  assert.ok(stripes.every((stripe) => stripe >= 0 && stripe < locks.words.length));
  assert.ok(locks.stripeOf(2 ** 19 - 1, 2 ** 32 - 1) >= 0);
});

test("who waits for a thread that is gone looks, and what it finds ends the wait", async (t) => {
  const words = word();
  const lock = words.buffer as SharedArrayBuffer;
  assert.equal(await inThread(t, { act: "hold-lock", lock, thread: 2 }), "held");
  watchWaits(lock, () => {
    throw new Error("thread 2 is gone");
  });
  assert.throws(() => acquire(words, 0, 1), /thread 2 is gone/);
});
