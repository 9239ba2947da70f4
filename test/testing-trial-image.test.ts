/** Hazard: a crash state that is not quite taken back, so that every later one is another than its label says. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { below, type Random, seeded } from "../src/testing/index.ts";
import { TrialImage } from "../src/testing/trial-image.ts";
import { TrialMemory } from "../src/testing/trial-memory.ts";

const SIZE = 1024;

const bytesOf = (random: Random, length: number): Uint8Array => Uint8Array.from({ length }, () => below(random, 256));

/** Stores of every kind, in places that overlap. */
function scribble(memory: TrialMemory, random: Random): void {
  for (let k = 0; k < 12; k++) {
    const at = 8 * below(random, SIZE / 8 - 16);
    memory.commit32(at, below(random, 2 ** 32));
    memory.commit64(at + 8, k, k + 1);
    memory.or32(at + 4, 1 << k);
    memory.fill(at + 3, bytesOf(random, 70));
    memory.zero(at, 5);
    memory.bytes(at + 1, 100).fill(k);
    memory.bytes(at + 50, 0);
  }
}

test("what an attempt stores is taken back, also through views and when it throws", () => {
  const random = seeded(1);
  const image = new TrialImage(bytesOf(random, SIZE));
  const before = image.bytes.slice();
  const key = image.key.value;
  for (let k = 0; k < 50; k++) {
    const attempt = (): void =>
      image.attempt(() => {
        scribble(new TrialMemory(image), random);
        image.attempt(() => scribble(new TrialMemory(image), random));
        assert.notEqual(image.key.value, key);
        if (k % 2 === 0) throw new Error("gave up");
      });
    if (k % 2 === 0) assert.throws(attempt, /gave up/);
    else attempt();
    assert.deepEqual(image.bytes, before);
    assert.equal(image.key.value, key);
  }
});

test("the key of an image is the same however it came about", () => {
  const random = seeded(2);
  const image = new TrialImage(new Uint8Array(SIZE));
  for (let k = 0; k < 50; k++) {
    scribble(new TrialMemory(image), random);
    assert.equal(image.key.value, new TrialImage(image.bytes).key.value);
    assert.equal(image.key.value, new TrialImage(image).key.value);
  }
});

test("the key of what matters leaves the rest out", () => {
  const image = new TrialImage(new Uint8Array(SIZE));
  const matters = (offset: number): boolean => offset !== 256;
  const key = image.keyOf(matters, 128);
  image.store(256, Uint8Array.of(1));
  image.store(383, Uint8Array.of(1));
  assert.equal(image.keyOf(matters, 128), key);
  image.store(384, Uint8Array.of(1));
  assert.notEqual(image.keyOf(matters, 128), key);
});

test("an image does not change with what it was made of", () => {
  const bytes = Buffer.alloc(SIZE);
  const image = new TrialImage(bytes);
  const copy = new TrialImage(image);
  bytes[0] = 1;
  image.store(1, Uint8Array.of(2));
  assert.deepEqual([image.bytes[0], copy.bytes[0], copy.bytes[1]], [0, 0, 0]);
});
