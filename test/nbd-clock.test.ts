// Hazard: a thread without an event loop forgets a limit of time, calls back too early, or never sleeps.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { PolledClock } from "../src/nbd/clock.ts";

/** A clock, and the time that it sees. */
function freshClock(t: TestContext): { clock: PolledClock; pass: (ms: number) => void } {
  let nowMs = 1_000;
  t.mock.method(performance, "now", () => nowMs);
  return {
    clock: new PolledClock(),
    pass: (ms) => {
      nowMs += ms;
    },
  };
}

test("what is to be done soon is done in the next run, and what that asks for in the one after it", (t) => {
  const { clock } = freshClock(t);
  const done: string[] = [];
  clock.soon(() => {
    done.push("first");
    clock.soon(() => done.push("second"));
  });
  assert.equal(clock.patienceMs, 0);
  assert.equal(clock.run(), true);
  assert.deepEqual([done, clock.patienceMs], [["first"], 0]);
  assert.equal(clock.run(), true);
  assert.deepEqual([done, clock.patienceMs, clock.run()], [["first", "second"], Number.POSITIVE_INFINITY, false]);
});

test("a timer calls back once, when its time has come and not before; a cancelled one never", (t) => {
  const { clock, pass } = freshClock(t);
  const done: number[] = [];
  clock.after(100, () => done.push(100));
  clock.after(1000, () => done.push(1000));
  const cancel = clock.after(100, () => done.push(-1));
  cancel();
  clock.run();
  pass(99);
  assert.equal(clock.run(), false);
  pass(60);
  assert.equal(clock.run(), true);
  assert.deepEqual(done, [100]);
  assert.ok(clock.patienceMs <= 1000);
  pass(1000);
  clock.run();
  assert.deepEqual([done, clock.patienceMs], [[100, 1000], Number.POSITIVE_INFINITY]);
});

test("a timer may cancel another one that is due with it, and set a new one", (t) => {
  const { clock, pass } = freshClock(t);
  const done: string[] = [];
  let cancel = (): void => {};
  clock.after(10, () => {
    done.push("first");
    cancel();
    clock.after(10, () => done.push("third"));
  });
  cancel = clock.after(10, () => done.push("second"));
  pass(100);
  clock.run();
  assert.deepEqual(done, ["first"]);
  pass(100);
  clock.run();
  assert.deepEqual(done, ["first", "third"]);
});
