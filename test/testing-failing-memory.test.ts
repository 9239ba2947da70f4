/** Hazard: a failure that was planted and never came, so that a test of failures tests nothing. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type FailingCall, FailingMemory, RecordingMemory } from "../src/testing/index.ts";
import { refusal } from "./support/region.ts";

const acts: Readonly<Record<FailingCall, readonly ((memory: FailingMemory) => unknown)[]>> = {
  read: [(memory) => memory.read(0, 8), (memory) => memory.readInto(0, new Uint8Array(8))],
  fence: [(memory) => memory.fence()],
  sync: [(memory) => memory.sync()],
  fill: [(memory) => memory.fill(0, Uint8Array.of(1)), (memory) => memory.zero(0, 8)],
  commit: [(memory) => memory.commit32(0, 1), (memory) => memory.commit64(8, 1, 2), (memory) => memory.or32(0, 2)],
};

for (const [call, all] of Object.entries(acts) as [FailingCall, (typeof acts)[FailingCall]][]) {
  test(`the n-th ${call} fails, once, and has no effect; other calls are not counted`, () => {
    for (const act of all) {
      const backing = RecordingMemory.blank(64);
      const memory = new FailingMemory(backing, call, 2);
      for (const [other, others] of Object.entries(acts)) if (other !== call) for (const one of others) one(memory);
      act(memory);
      assert.equal(memory.failed, false);
      const [events, image] = [backing.recording.events.length, backing.recording.image.slice()];
      assert.throws(() => act(memory), refusal("EIO"));
      assert.equal(memory.failed, true);
      assert.equal(backing.recording.events.length, events);
      assert.deepEqual(backing.recording.image, image);
      act(memory);
    }
  });
}

test("a failure can be planted anew while the memory is used", () => {
  const memory = new FailingMemory(RecordingMemory.blank(64), "fence", Number.POSITIVE_INFINITY);
  memory.fence();
  memory.arm("commit", 2);
  memory.commit32(0, 1);
  memory.fence();
  assert.throws(() => memory.commit32(0, 2), refusal("EIO"));
  assert.deepEqual([memory.failed, memory.load32(0)], [true, 1]);
});

test("what does not fail goes to the memory behind", () => {
  const backing = RecordingMemory.blank(64);
  const memory = new FailingMemory(backing, "sync", 1);
  memory.commit64(8, 5, 6);
  memory.flushAll();
  assert.deepEqual([memory.load32(8), memory.load32(12)], [5, 6]);
  assert.deepEqual(Array.from(memory.bytes(8, 4)), [5, 0, 0, 0]);
  assert.deepEqual(
    [memory.sizeBytes, memory.readOnly, memory.ranges, memory.survival],
    [backing.sizeBytes, backing.readOnly, backing.ranges, backing.survival],
  );
  memory.close();
});
