// Hazard: the kernel is told a wrong address or length, and sends what is none of the client's business.

import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { VectorList } from "../src/nbd/vector-list.ts";
import { maxVectors, Scratch } from "../src/os/index.ts";
import { below, seeded } from "../src/testing/index.ts";
import { seed } from "./support/seed.ts";

/** A list and what the kernel would find in it. */
function freshList(t: TestContext): { list: VectorList; pieces: () => [number, number][] } {
  const scratch = new Scratch(VectorList.sizeBytes + 64);
  t.after(() => scratch[Symbol.dispose]());
  const list = new VectorList(scratch, 64);
  const pieces = (): [number, number][] =>
    Array.from({ length: list.count }, (_, k) => {
      const at = list.address - scratch.address + 16 * k;
      return [Number(scratch.bytes.readBigUInt64LE(at)), Number(scratch.bytes.readBigUInt64LE(at + 8))];
    });
  return { list, pieces };
}

/** Addresses as they are: far above 2^32. */
const base = 0x7f12_3456_7000;

test("pieces stand in the form of the kernel, and those that adjoin become one", (t) => {
  const { list, pieces } = freshList(t);
  list.add(base, 100);
  list.add(base + 100, 28);
  list.add(base + 4096, 512);
  list.add(base, 16);
  assert.deepEqual(pieces(), [
    [base, 128],
    [base + 4096, 512],
    [base, 16],
  ]);
  assert.deepEqual([list.count, list.lengthBytes, list.room], [3, 656, maxVectors - 3]);
  list.clear();
  assert.deepEqual([list.count, list.lengthBytes, list.room, pieces()], [0, 0, maxVectors, []]);
});

test("a piece grows to a gigabyte at most", (t) => {
  const { list, pieces } = freshList(t);
  list.add(base, 2 ** 30 - 10);
  list.add(base + 2 ** 30 - 10, 10);
  list.add(base + 2 ** 30, 10);
  assert.deepEqual(pieces(), [
    [base, 2 ** 30],
    [base + 2 ** 30, 10],
  ]);
});

test("what was moved is forgotten, also in the middle of a piece; nothing joins what is gone", (t) => {
  const { list, pieces } = freshList(t);
  list.add(base, 100);
  list.add(base + 500, 50);
  list.drop(30);
  assert.deepEqual(list.firstPiece(), { address: base + 30, length: 70 });
  list.drop(90);
  assert.deepEqual(pieces(), [[base + 520, 30]]);
  list.add(base + 550, 1);
  assert.deepEqual(pieces(), [[base + 520, 31]]);
  list.drop(31);
  assert.deepEqual([list.count, list.lengthBytes], [0, 0]);
  list.add(base + 551, 9);
  assert.deepEqual(pieces(), [[base + 551, 9]]);
});

test(`any pieces, taken away in any parts, are the bytes that were added (PERDURE_SEED=${seed})`, (t) => {
  const { list, pieces } = freshList(t);
  const random = seeded(seed);
  for (let round = 0; round < 200; round++) {
    list.clear();
    const bytes: number[] = [];
    for (let k = 1 + below(random, 20), address = base; k > 0; k--) {
      const length = 1 + below(random, 9);
      for (let at = 0; at < length; at++) bytes.push(address + at);
      list.add(address, length);
      address += length + below(random, 2);
    }
    while (bytes.length > 0) {
      const found = pieces().flatMap(([address, length]) => Array.from({ length }, (_, k) => address + k));
      assert.deepEqual(found, bytes);
      assert.equal(list.lengthBytes, bytes.length);
      const moved = 1 + below(random, bytes.length);
      list.drop(moved);
      bytes.splice(0, moved);
    }
    assert.equal(list.count, 0);
  }
});

test("there is room for as many pieces as the kernel takes in one call", (t) => {
  const { list, pieces } = freshList(t);
  for (let k = 0; list.room > 0; k++) list.add(base + 2 * k, 1);
  assert.equal(list.count, maxVectors);
  assert.deepEqual(pieces().at(-1), [base + 2 * (maxVectors - 1), 1]);
});
