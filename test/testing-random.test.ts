/** Hazard: a failure of a random test that cannot be repeated. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { below, pick, seeded } from "../src/testing/index.ts";

test("one seed gives one sequence, another gives another", () => {
  const sequence = (seed: number): number[] => {
    const random = seeded(seed);
    return Array.from({ length: 50 }, () => random());
  };
  assert.deepEqual(sequence(7), sequence(7));
  assert.notDeepEqual(sequence(7), sequence(8));
  assert.ok(sequence(0).every((value) => value >= 0 && value < 1));
});

test("every choice comes, and none beside", () => {
  const random = seeded(1);
  const numbers = new Set(Array.from({ length: 500 }, () => below(random, 7)));
  assert.deepEqual(numbers, new Set([0, 1, 2, 3, 4, 5, 6]));
  const words = new Set(Array.from({ length: 200 }, () => pick(random, ["a", "b", "c"])));
  assert.deepEqual(words, new Set(["a", "b", "c"]));
});
