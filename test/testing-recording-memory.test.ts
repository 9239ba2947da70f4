/** Hazard: a store that is not recorded is a store whose loss is never tried. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type MemoryEvent, RecordingMemory } from "../src/testing/index.ts";

const brief = (event: MemoryEvent): string =>
  event.kind === "store"
    ? `store ${event.offset}+${event.bytes.length}${event.atomic ? " atomic" : ""}`
    : event.kind === "flush"
      ? `flush ${event.offset}+${event.lengthBytes}`
      : "fence";

test("every store, flush and fence is recorded in order, with its thread", () => {
  const memory = RecordingMemory.blank(256);
  const second = new RecordingMemory(memory.recording, 2);
  memory.commit32(0, 1);
  second.commit64(8, 2, 3);
  memory.or32(0, 4);
  memory.fill(100, Uint8Array.of(1, 2, 3));
  memory.zero(101, 1);
  second.flush(0, 64);
  second.fence();
  assert.deepEqual(memory.recording.events.map(brief), [
    "store 0+4 atomic",
    "store 8+8 atomic",
    "store 0+4 atomic",
    "store 100+3",
    "store 101+1",
    "flush 0+64",
    "fence",
  ]);
  assert.deepEqual(
    memory.recording.events.map(({ thread }) => thread),
    [1, 2, 1, 1, 1, 2, 2],
  );
  assert.deepEqual(
    [0, 4, 8, 12].map((at) => memory.load32(at)),
    [5, 0, 2, 3],
  );
  assert.deepEqual(Array.from(memory.read(100, 3)), [1, 0, 3]);
  assert.deepEqual(memory.recording.recorded, memory.recording.image);
  assert.deepEqual([memory.stores, second.stores], [4, 1]);
});

test("what was written through a view is seen at the flush", () => {
  const memory = RecordingMemory.blank(256);
  memory.bytes(64, 64).fill(7);
  assert.equal(memory.recording.events.length, 0);
  assert.equal(memory.recording.recorded[64], 0, "a crash now might lose it");
  memory.sync();
  assert.deepEqual(memory.recording.events.map(brief), ["store 0+256", "flush 0+256", "fence"]);
  assert.equal(memory.recording.recorded[64], 7);
});

test("a test may run something before an event takes effect", () => {
  const memory = RecordingMemory.blank(64);
  let seen = -1;
  memory.recording.before = () => {
    seen = memory.load32(0);
  };
  memory.commit32(0, 9);
  assert.equal(seen, 0);
});

test("accesses outside of the memory are defects", () => {
  const memory = RecordingMemory.blank(64);
  assert.throws(() => memory.read(60, 5));
  assert.throws(() => memory.fill(-1, Uint8Array.of(1)));
  assert.throws(() => memory.commit32(2, 1), /aligned/);
  assert.throws(() => memory.commit64(4, 1, 1), /aligned/);
});
