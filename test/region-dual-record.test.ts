/** Hazard: of two versions of a record the wrong one counts, or a torn one. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Layout, seal, u32, u64 } from "../src/base/index.ts";
import { readDual, writeDual } from "../src/region/dual-record.ts";
import { below, killImages, RecordingMemory, seeded } from "../src/testing/index.ts";

const layout = new Layout("sample", 64, { sequence: u64(0, "s"), value: u32(8, "v"), crc: u32(60, "c") });
const slots = { a: 1000, b: 2000 };

const record = (sequence: number, value = 0): Uint8Array => seal(layout.encode({ sequence, value }), layout.fields.crc);
const torn = (): Uint8Array => {
  const bytes = record(9, 9);
  bytes[20] = 1;
  return bytes;
};
const blank = (): Uint8Array => new Uint8Array(64);
const read = (a: Uint8Array, b: Uint8Array) => readDual(layout, slots, a, b);

test("a record that was never written is blank", () => {
  assert.deepEqual(read(blank(), blank()), { kind: "blank", torn: undefined });
});

test("a torn slot beside one that was never written is a first write that was killed", () => {
  assert.deepEqual(read(torn(), blank()), { kind: "blank", torn: slots.a });
  assert.deepEqual(read(blank(), torn()), { kind: "blank", torn: slots.b });
});

test("two torn slots are corrupt", () => {
  assert.equal(read(torn(), torn()).kind, "corrupt");
});

test("the higher sequence counts, the other slot is healed from it", () => {
  for (const other of [record(3), torn(), blank()]) {
    assert.deepEqual(read(record(4), other), { kind: "valid", bytes: record(4), winner: slots.a, loser: slots.b });
    assert.deepEqual(read(other, record(4)), { kind: "valid", bytes: record(4), winner: slots.b, loser: slots.a });
  }
});

test("slots that agree need nothing", () => {
  assert.deepEqual(read(record(4), record(4)), { kind: "valid", bytes: record(4), winner: slots.a, loser: undefined });
});

test("one sequence with two contents is corrupt", () => {
  assert.equal(read(record(4, 1), record(4, 2)).kind, "corrupt");
});

test("zeroes with a right CRC are no record, since sequences start at 1", () => {
  assert.equal(read(record(0), record(0)).kind, "corrupt");
  assert.deepEqual(read(record(0), record(1)), { kind: "valid", bytes: record(1), winner: slots.b, loser: slots.a });
});

test("a rewrite that is killed at any store leaves the old record or the new one", () => {
  const random = seeded(1);
  for (const older of [slots.a, slots.b]) {
    const newer = older === slots.a ? slots.b : slots.a;
    const memory = RecordingMemory.blank(4096);
    memory.fill(newer, record(5, 50));
    memory.fill(older, below(random, 2) === 0 ? record(4, 40) : torn());
    const before = memory.recording.image.slice();
    memory.recording.events = [];
    writeDual(memory, older, newer, record(6, 60));
    for (const crash of killImages(before, memory.recording.events, random)) {
      const image = crash.bytes();
      const found = read(image.slice(slots.a, slots.a + 64), image.slice(slots.b, slots.b + 64));
      assert.equal(found.kind, "valid", crash.label);
      if (found.kind === "valid") assert.ok([50, 60].includes(layout.decode(found.bytes).value), crash.label);
    }
    assert.deepEqual(
      memory.recording.events.map(({ kind }) => kind),
      ["store", "flush", "fence", "store", "flush", "fence"],
    );
  }
});
