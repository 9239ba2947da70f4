/** Hazard: a judge that passes a state because it has seen it before, or has counted one state many times. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  CrashJudge,
  type CrashSubject,
  KillModel,
  type MemoryEvent,
  RecordingMemory,
  seeded,
  Violation,
} from "../src/testing/index.ts";

const BLOCK = 64;

/** A format whose state is its first byte; opening it counts, so that the tests see what was opened and checked. */
function countingSubject(): { subject: CrashSubject<void>; opened: () => number; checked: () => number } {
  let opened = 0;
  let checked = 0;
  const subject: CrashSubject<void> = {
    open: (memory) => {
      opened++;
      if (memory.load32(0) === 99) throw new Error("99 does not open");
    },
    check: (image) => {
      checked++;
      return { text: String(image[0]) };
    },
    matters: { blockBytes: BLOCK, of: (_image, offset) => offset === 0 },
  };
  return { subject, opened: () => opened, checked: () => checked };
}

/** The events of an act on a blank memory. */
function eventsOf(act: (memory: RecordingMemory) => void): MemoryEvent[] {
  const memory = RecordingMemory.blank(2 * BLOCK);
  act(memory);
  return memory.recording.events;
}

const rarely = { nestedEvery: Number.POSITIVE_INFINITY, examinedEvery: Number.POSITIVE_INFINITY };

function judgeAll(judge: CrashJudge<void>, events: readonly MemoryEvent[], allowed: readonly string[]): void {
  const model = new KillModel(new Uint8Array(2 * BLOCK), seeded(1));
  for (const event of events) {
    for (const crash of model.during(event)) judge.judge(crash, allowed, "test");
    model.add(event);
  }
}

test("equal images are opened once, and those that differ where nobody looks are checked once", () => {
  const { subject, opened, checked } = countingSubject();
  const judge = new CrashJudge(subject, seeded(1), rarely);
  const events = eventsOf((memory) => {
    for (const value of [1, 0, 1, 0]) memory.commit32(0, value);
    for (const value of [1, 2, 3]) memory.commit32(BLOCK, value);
  });
  judgeAll(judge, events, ["0", "1"]);
  assert.deepEqual(judge.tally, { states: 5, repeats: 2, inRecovery: 0, operations: 0 });
  assert.equal(opened(), 5);
  assert.equal(checked(), 2);
});

test("a state that was right before is refused when it is not allowed any longer", () => {
  const judge = new CrashJudge(countingSubject().subject, seeded(1), rarely);
  const events = eventsOf((memory) => memory.commit32(0, 1));
  judgeAll(judge, events, ["0", "1"]);
  assert.throws(() => judgeAll(judge, events, ["0"]), /^Error: test: killed after a store at byte 0: state is not/);
});

test("an image that does not open, a broken rule and a disagreement are violations", () => {
  const { subject } = countingSubject();
  const bad = eventsOf((memory) => memory.commit32(0, 99));
  assert.throws(() => judgeAll(new CrashJudge(subject, seeded(1)), bad, ["99"]), /99 does not open/);
  const good = eventsOf((memory) => memory.commit32(0, 1));
  const refusing = (part: Partial<CrashSubject<void>>): void => {
    const judge = new CrashJudge({ ...subject, ...part }, seeded(1), { nestedEvery: 1, examinedEvery: 1 });
    assert.throws(() => judgeAll(judge, good, ["1"]), Violation);
  };
  const refuse = (): never => {
    throw new Error("no");
  };
  refusing({ check: refuse });
  refusing({ agree: refuse });
  refusing({ examine: refuse });
});

test("crashes of a recovery are counted, and every event of it is shown", () => {
  const { subject } = countingSubject();
  const observed: string[] = [];
  const recovering: CrashSubject<void> = {
    ...subject,
    open: (memory) => memory.commit32(BLOCK, memory.load32(BLOCK) + 1),
    observe: ({ kind }) => void observed.push(kind),
  };
  const judge = new CrashJudge(recovering, seeded(1), { ...rarely, nestedEvery: 1 });
  judgeAll(
    judge,
    eventsOf((memory) => memory.commit32(0, 1)),
    ["1"],
  );
  assert.equal(judge.tally.inRecovery, 1);
  assert.deepEqual(new Set(observed), new Set(["store"]));
});
