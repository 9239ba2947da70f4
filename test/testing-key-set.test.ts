/** Hazard: a state that is counted twice makes a run look more thorough than it was. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { below, seeded } from "../src/testing/index.ts";
import { KeySet } from "../src/testing/key-set.ts";

test("it answers as a Set does, also when it has grown many times", () => {
  const random = seeded(6);
  const keys = new KeySet();
  const expected = new Set<number>();
  for (let k = 0; k < 60_000; k++) {
    // Many keys that differ in their high bits or in their low bits only, and the extremes.
    const key = [below(random, 300), below(random, 300) * 2 ** 40, below(random, 2 ** 53), 0, 2 ** 53 - 1][k % 5];
    assert.equal(keys.add(key), !expected.has(key));
    expected.add(key);
    assert.equal(keys.size, expected.size);
  }
});
