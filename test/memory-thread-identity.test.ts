/** Hazard: a thread that is taken for dead while it works, or waited for when it is gone. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { currentThread, type ThreadIdentity, threadLives } from "../src/memory/index.ts";
import { nextMessage, startThread } from "./support/threads.ts";

test("a thread lives until it ends, however it ends", async (t) => {
  assert.ok(threadLives(currentThread()));
  const worker = startThread(t, "./thread-waits.js", null);
  const identity = await nextMessage<ThreadIdentity>(worker);
  assert.notEqual(identity.tid, currentThread().tid);
  assert.ok(threadLives(identity), "while it waits");
  await worker.terminate();
  assert.ok(!threadLives(identity), "after it was terminated");
});

test("another thread under the same number is another one", () => {
  const own = currentThread();
  assert.ok(!threadLives({ ...own, startTicks: own.startTicks + 1 }));
});
