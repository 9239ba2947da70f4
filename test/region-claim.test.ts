/**
 * Hazard: a flipped bit makes one claim another. The check must see every flip of up to three bits, and an entry that
 * was written to the place of another page.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  columns,
  describeClaim,
  isLegalKind,
  kind,
  kindOf,
  makeClaim,
  ownerOf,
  pageColumns,
  revisionOf,
  syndrome,
} from "../src/region/claim.ts";
import { below, type Random, seeded } from "../src/testing/index.ts";
import { seed } from "./support/seed.ts";

const kinds = Object.values(kind);

interface Entry {
  readonly page: number;
  readonly index: number;
  readonly claim: number;
}

function randomEntry(random: Random): Entry {
  const page = below(random, 2 ** 32);
  const index = below(random, 2 ** 32);
  const kindNumber = kinds[below(random, kinds.length)];
  return { page, index, claim: makeClaim(page, index, kindNumber, below(random, 4), below(random, 2 ** 19)) };
}

function flipped({ page, index, claim }: Entry, bits: readonly number[]): number {
  let [low, high] = [index, claim];
  for (const bit of bits) {
    if (bit < 32) low = (low ^ (1 << bit)) >>> 0;
    else high = (high ^ (1 << (bit - 32))) >>> 0;
  }
  return syndrome(page, low, high);
}

test(`what a claim says is read back (PERDURE_SEED=${seed})`, () => {
  const random = seeded(seed);
  for (let k = 0; k < 10_000; k++) {
    const [page, index] = [below(random, 2 ** 32), below(random, 2 ** 32)];
    const [revision, owner] = [below(random, 4), below(random, 2 ** 19)];
    const kindNumber = kinds[below(random, kinds.length)];
    const claim = makeClaim(page, index, kindNumber, revision, owner);
    assert.deepEqual([kindOf(claim), revisionOf(claim), ownerOf(claim)], [kindNumber, revision, owner]);
    assert.equal(syndrome(page, index, claim), 0);
  }
});

test(`every flip of one bit is seen, and located by its syndrome (PERDURE_SEED=${seed})`, () => {
  const random = seeded(seed);
  for (let k = 0; k < 200; k++) {
    const entry = randomEntry(random);
    for (let bit = 0; bit < 64; bit++) assert.equal(columns.indexOf(flipped(entry, [bit])), bit);
  }
});

test(`every flip of two or three bits is seen (PERDURE_SEED=${seed})`, () => {
  const random = seeded(seed);
  for (let round = 0; round < 5; round++) {
    const entry = randomEntry(random);
    for (let a = 0; a < 64; a++) {
      for (let b = 0; b < a; b++) {
        assert.notEqual(flipped(entry, [a, b]), 0, `bits ${a} ${b}`);
        for (let c = 0; c < b; c++) assert.notEqual(flipped(entry, [a, b, c]), 0, `bits ${a} ${b} ${c}`);
      }
    }
  }
});

test("the check is linear, so that three-bit flips of some entries speak for those of all", () => {
  const random = seeded(seed);
  for (let k = 0; k < 1000; k++) {
    const entry = randomEntry(random);
    const bits = [below(random, 64), below(random, 64), below(random, 64)];
    assert.equal(
      flipped(entry, bits),
      bits.reduce((sum, bit) => sum ^ columns[bit], 0),
    );
  }
});

test(`an entry at another of 64 aligned pages is seen (PERDURE_SEED=${seed})`, () => {
  const random = seeded(seed);
  for (let k = 0; k < 500; k++) {
    const { page, index, claim } = randomEntry(random);
    const first = page - (page % 64);
    for (let other = first; other < first + 64; other++) {
      if (other !== page) assert.notEqual(syndrome(other, index, claim), 0, `page ${page} at ${other}`);
    }
  }
});

test("the columns are what the proof needs: distinct, of seven bits and of odd weight", () => {
  const weight = (value: number): number => value.toString(2).replaceAll("0", "").length;
  assert.equal(new Set(columns).size, 64);
  for (const column of [...columns, ...pageColumns]) {
    assert.ok(column > 0 && column < 128 && weight(column) % 2 === 1);
  }
});

test("a zeroed entry is never a legal claim", () => {
  assert.equal(isLegalKind(0), false);
  for (const number of kinds) assert.equal(isLegalKind(makeClaim(1, 2, number, 0, 3)), true);
  const illegal = Array.from({ length: 16 }, (_, number) => number).filter(
    (number) => !kinds.includes(number as never),
  );
  for (const number of illegal) assert.equal(isLegalKind((number << 28) >>> 0), false, `kind ${number}`);
});

test("messages name kind, owner, index and revision", () => {
  assert.equal(describeClaim(9, makeClaim(4, 9, kind.data, 2, 17)), "DATA owner 17 index 9 revision 2");
  assert.match(describeClaim(0, 0xf0000000), /^KIND 15 /);
});
