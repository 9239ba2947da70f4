/** Hazard: a race between two threads that the search for races does not see, or that ends the search. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { parseSchedule, type SteppedRun, SteppedThreads, schedulesWithin, scheduleText } from "../src/testing/index.ts";
import type { CounterTask } from "./support/thread-steps.ts";

const program = new URL("./support/thread-steps.js", import.meta.url);
const threads = new SteppedThreads<CounterTask>(program);
after(() => threads[Symbol.dispose]());

function prepare(mode: CounterTask["mode"], on: SteppedThreads<CounterTask> = threads): void {
  const locks = new SharedArrayBuffer(8);
  on.prepare({ image: new SharedArrayBuffer(64), buffers: [locks], task: { mode, locks } });
}

function runAll(mode: CounterTask["mode"], bound = 4): SteppedRun[] {
  prepare(mode);
  return Array.from(schedulesWithin(bound, (schedule) => threads.run(schedule)));
}

test("an update that is lost between a load and a store is found, and found again by its schedule", () => {
  const lost = runAll("bare").filter((run) => run.threads[0].view !== "2");
  assert.ok(lost.length > 0);
  for (const { schedule } of lost) {
    const again = threads.run(parseSchedule(scheduleText(schedule)));
    assert.deepEqual(
      again.threads.map(({ view }) => view),
      ["1", "1"],
    );
  }
});

test("behind a lock no update is lost: who waits for it is passed over, and goes on when it is free", () => {
  const runs = runAll("locked");
  for (const run of runs) {
    assert.deepEqual(
      run.threads.map(({ answer, view }) => `${answer} ${view}`),
      ["done 2", "done 2"],
      scheduleText(run.schedule),
    );
  }
  const orders = new Set(runs.map(({ steps }) => steps.map(({ thread }) => thread).join("")));
  assert.ok(orders.has("ABAB") && orders.has("AABB"), [...orders].join(" "));
});

test("events of both threads stand in one order, and say where each thread began and ended", () => {
  prepare("bare");
  const { events, threads: both } = threads.run({ first: "B", preemptions: [] });
  assert.deepEqual(
    events.map((event) => (event.kind === "store" ? [event.thread, event.bytes[0]] : event.kind)),
    [
      [3, 1],
      [2, 2],
    ],
  );
  assert.deepEqual(
    both.map(({ begin, end, isAfter }) => [begin, end, isAfter]),
    [
      [1, 2, true],
      [0, 1, false],
    ],
  );
});

test("loads are steps for a thread that only reads", () => {
  const answers = new Set(runAll("read").map((run) => run.threads[1].answer));
  assert.deepEqual(answers, new Set(["0 0", "0 1", "1 1"]));
});

test("two threads that wait for each other are told of, and so is a fault of the program", () => {
  for (const [mode, message] of [
    ["crossed", /wait for each other/],
    ["broken", /a fault of the program/],
  ] as const) {
    // Threads that failed are not used again.
    using own = new SteppedThreads<CounterTask>(program);
    prepare(mode, own);
    assert.throws(() => {
      for (const run of schedulesWithin(2, (schedule) => own.run(schedule))) assert.equal(run.threads[0].view, "2");
    }, message);
  }
});
