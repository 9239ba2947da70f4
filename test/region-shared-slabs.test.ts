/** Hazard: words that one thread added and another does not see, or sees at another place. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { SharedSlabs } from "../src/region/shared-slabs.ts";

const SLAB = 1024;

test("a short first slab becomes whole and keeps what it holds", () => {
  const words = new SharedSlabs(SharedSlabs.make(16, 4 * SLAB), SLAB);
  assert.equal(words.length, 16);
  words.slabs[0][15] = 5;
  words.grow();
  assert.equal(words.slabs.length, 1);
  assert.equal(words.slabs[0].length, SLAB);
  assert.equal(words.slabs[0][15], 5);
  words.grow();
  assert.equal(words.slabs.length, 2);
  assert.equal(words.length, 2 * SLAB);
});

test("another thread's views follow when it catches up", () => {
  const ours = new SharedSlabs(SharedSlabs.make(0, 3 * SLAB), SLAB);
  const theirs = new SharedSlabs(ours.buffers, SLAB);
  for (let k = 0; k < 3; k++) ours.grow();
  ours.slabs[2][1023] = 9;
  assert.equal(theirs.slabs.length, 0);
  theirs.catchUp();
  assert.equal(theirs.slabs[2][1023], 9);
});

test("words grow over several buffers, and no further than was set aside", () => {
  const GIB_OF_WORDS = 2 ** 28;
  const words = new SharedSlabs(SharedSlabs.make(0, 3 * GIB_OF_WORDS), GIB_OF_WORDS);
  assert.equal(words.buffers.length, 2);
  for (let k = 0; k < 3; k++) words.grow();
  words.slabs[2][GIB_OF_WORDS - 1] = 3;
  assert.equal(new SharedSlabs(words.buffers, GIB_OF_WORDS).slabs[2][GIB_OF_WORDS - 1], 3);
  assert.throws(() => words.grow(), /addresses set aside/);
});
