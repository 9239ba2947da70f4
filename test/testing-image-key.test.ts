/** Hazard: two crash states of one key, of which the second is never opened. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ImageKey, lineKey } from "../src/testing/image-key.ts";

test("every single bit and every place of a line makes a key of its own", () => {
  const keys = new Set<number>();
  const words = new Uint32Array(16);
  let count = 0;
  for (let number = 0; number < 100; number++) {
    for (let bit = -1; bit < 512; bit++, count++) {
      if (bit >= 0) words[bit >>> 5] = 1 << (bit & 31);
      keys.add(lineKey(number, words, 0).value);
      words.fill(0);
    }
  }
  assert.equal(keys.size, count);
});

test("a line that is taken out again leaves nothing, in any order", () => {
  const words = Uint32Array.from({ length: 32 }, (_, k) => k);
  const [first, second] = [lineKey(1, words, 0), lineKey(2, words, 16)];
  const key = new ImageKey();
  key.toggle(first);
  key.toggle(second);
  const both = key.copy();
  key.toggle(first);
  assert.equal(key.value, second.value);
  key.toggle(second);
  assert.equal(key.value, new ImageKey().value);
  assert.notEqual(both.value, key.value);
});
