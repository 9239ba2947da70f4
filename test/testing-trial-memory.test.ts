/** Hazard: recovery is judged on a memory that behaves otherwise than real ones do. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { below, RecordingMemory, seeded } from "../src/testing/index.ts";
import { TrialImage } from "../src/testing/trial-image.ts";
import { TrialMemory } from "../src/testing/trial-memory.ts";

test("it reads and stores as a recording memory does", () => {
  const random = seeded(4);
  const recorded = RecordingMemory.blank(512);
  const image = new TrialImage(new Uint8Array(512));
  const tried = new TrialMemory(image);
  for (let k = 0; k < 200; k++) {
    const at = 8 * below(random, 50);
    const value = below(random, 2 ** 32);
    const target = [new Uint8Array(40), new Uint8Array(40)];
    for (const [one, memory] of [recorded, tried].entries()) {
      if (k % 5 === 0) memory.commit32(at + 4, value);
      if (k % 5 === 1) memory.commit64(at, value, k);
      if (k % 5 === 2) memory.or32(at, value);
      if (k % 5 === 3) memory.fill(at + 1, Uint8Array.of(k, k + 1, k + 2));
      if (k % 5 === 4) memory.zero(at + 2, 9);
      memory.readInto(at, target[one]);
      memory.sync();
      memory.flushAll();
    }
    assert.deepEqual(target[0], target[1]);
    assert.deepEqual(tried.read(0, 512), recorded.read(0, 512));
    assert.equal(tried.load32(at), recorded.load32(at));
  }
  assert.deepEqual([tried.sizeBytes, tried.readOnly, tried.hasWriter], [512, false, false]);
  assert.deepEqual(tried.survival, recorded.survival);
  tried.close();
});

test("accesses outside of the memory are defects", () => {
  const memory = new TrialMemory(new TrialImage(new Uint8Array(64)));
  assert.throws(() => memory.read(60, 5));
  assert.throws(() => memory.bytes(64, 1));
  assert.throws(() => memory.fill(-1, Uint8Array.of(1)));
  assert.throws(() => memory.commit32(2, 1), /aligned/);
  assert.throws(() => memory.commit64(4, 1, 1), /aligned/);
});
