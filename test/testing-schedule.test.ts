/** Hazard: an order of two threads that is never tried, or that cannot be tried again. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseSchedule, type Schedule, type Step, schedulesWithin, scheduleText } from "../src/testing/index.ts";

/** Two threads of so many steps each, which never wait: the steps that a schedule leads to. */
function independent(schedule: Schedule, steps: number): { schedule: Schedule; steps: Step[] } {
  const left = { A: steps, B: steps };
  let now = schedule.first;
  const done: Step[] = [];
  while (left.A + left.B > 0) {
    const other = now === "A" ? "B" : "A";
    if (left[now] === 0 || schedule.preemptions.includes(done.length)) now = other;
    done.push({ thread: now, isChoice: left[now === "A" ? "B" : "A"] > 0, events: done.length });
    left[now]--;
  }
  return { schedule, steps: done };
}

const orderOf = ({ steps }: { steps: Step[] }): string => steps.map(({ thread }) => thread).join("");
const all = (steps: number, bound: number): { schedule: Schedule; steps: Step[] }[] =>
  Array.from(schedulesWithin(bound, (schedule) => independent(schedule, steps)));

test("without a bound every order of two threads is tried", () => {
  // 8 over 4.
  assert.equal(new Set(all(4, 8).map(orderOf)).size, 70);
});

test("those with fewer preemptions come first, and none is preempted more often than the bound says", () => {
  const counts = all(4, 2).map(({ schedule }) => schedule.preemptions.length);
  assert.deepEqual(
    counts,
    counts.toSorted((a, b) => a - b),
  );
  assert.deepEqual(new Set(counts), new Set([0, 1, 2]));
  const orders = new Set(all(4, 2).map(orderOf));
  assert.ok(orders.has("AABBBBAA"), "A-B-A");
  assert.ok(orders.has("ABBBAAAB"), "A-B-A-B");
  assert.ok(!orders.has("ABABABAB"), "seven turns need more");
});

test("a schedule is made again from its text", () => {
  for (const text of ["A", "B", "A@0", "B@3,17,20"]) assert.equal(scheduleText(parseSchedule(text)), text);
  for (const text of ["", "C", "A@", "A@1,", "AB", "A@-1"]) assert.throws(() => parseSchedule(text), /is no schedule/);
});
