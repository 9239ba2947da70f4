/** Hazard: a page that is given twice belongs to two; one that is forgotten is lost until the next open. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { FreePages } from "../src/region/free-pages.ts";
import { inThread } from "./support/threads.ts";

/** A bitmap with these pages free. */
function withFree(pages: number, free: Iterable<number>): FreePages {
  const bitmap = new FreePages(pages);
  for (const page of free) bitmap.release(page);
  return bitmap;
}

const range = (from: number, end: number): number[] => Array.from({ length: end - from }, (_, k) => from + k);

type Step =
  | { readonly take: number }
  | { readonly order: number }
  | { readonly release: number }
  | { readonly releaseAll: number }
  | { readonly first: number; readonly length: number };

const PAGES = 3000;
const steps: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ take: fc.nat(PAGES + 40) }) },
  { weight: 3, arbitrary: fc.record({ order: fc.nat(8) }) },
  { weight: 4, arbitrary: fc.record({ release: fc.nat() }) },
  { weight: 2, arbitrary: fc.record({ first: fc.nat(PAGES - 1), length: fc.nat(130) }) },
  { weight: 1, arbitrary: fc.record({ releaseAll: fc.integer({ min: 1, max: 200 }) }) },
);

/** What is out: each allocation by its first page. */
class Model {
  readonly bitmap: FreePages;
  readonly free: Set<number>;
  readonly out: [first: number, length: number][] = [];

  constructor(initial: Iterable<number>) {
    this.free = new Set(initial);
    this.bitmap = withFree(PAGES, this.free);
  }

  run(step: Step): void {
    if ("take" in step) this.#took(this.bitmap.take(step.take), 1, this.#firstFrom(step.take));
    else if ("order" in step)
      this.#took(this.bitmap.takeRun(step.order), 2 ** step.order, this.#firstRun(2 ** step.order));
    else if ("first" in step) this.#takeAll(step.first, Math.min(step.first + step.length, PAGES));
    else {
      const count = "releaseAll" in step ? step.releaseAll : 1;
      const at = "release" in step ? step.release : 0;
      for (let k = 0; k < count && this.out.length > 0; k++) this.#give(at % this.out.length);
    }
    assert.equal(this.bitmap.count, this.free.size);
  }

  /** Takes a range as a whole, or not at all. */
  #takeAll(first: number, end: number): void {
    const isFree = range(first, end).every((page) => this.free.has(page));
    assert.equal(this.bitmap.areFree(first, end), isFree);
    assert.equal(this.bitmap.takeAll(first, end), isFree);
    if (!isFree || first === end) return;
    for (const page of range(first, end)) this.free.delete(page);
    this.out.push([first, end - first]);
  }

  #took(page: number, length: number, expected: number): void {
    assert.equal(page, expected);
    if (page < 0) return;
    for (const taken of range(page, page + length)) assert.ok(this.free.delete(taken), `page ${taken} was given twice`);
    this.out.push([page, length]);
  }

  #give(at: number): void {
    const [[first, length]] = this.out.splice(at, 1);
    // A range goes back as a whole, or page by page.
    if (length % 2 === 0) this.bitmap.releaseAll(first, first + length);
    for (const page of range(first, first + length)) {
      if (length % 2 === 1) this.bitmap.release(page);
      this.free.add(page);
    }
  }

  // The search starts at the word of the hint and goes around the end.
  #firstFrom(hint: number): number {
    const start = hint - (hint % 32);
    const all = Array.from(this.free).sort((a, b) => a - b);
    return all.find((page) => page >= start) ?? all[0] ?? -1;
  }

  #firstRun(length: number): number {
    for (let first = 0; first + length <= PAGES; first += length) {
      if (range(first, first + length).every((page) => this.free.has(page))) return first;
    }
    return -1;
  }
}

test("any sequence of takes and releases gives what a set of free pages gives, and no page twice", () => {
  const initials = fc.oneof(
    fc.constant(range(0, PAGES)),
    fc.constant(range(100, PAGES)),
    fc.uniqueArray(fc.nat(PAGES - 1), { maxLength: 100 }),
  );
  const property = fc.property(initials, fc.array(steps, { maxLength: 120 }), (initial, sequence) => {
    const model = new Model(initial);
    for (const step of sequence) model.run(step);
  });
  fc.assert(property, { numRuns: 150 });
});

test("a single page is found wherever it is, from any hint", () => {
  for (const pages of [1, 31, 32, 33, 1024, 1025, 33_000]) {
    for (const free of [0, Math.floor(pages / 2), pages - 1]) {
      for (const hint of [0, free, pages - 1, pages + 5]) {
        assert.equal(withFree(pages, [free]).take(hint), free, `${pages} pages, free ${free}, hint ${hint}`);
      }
    }
  }
});

test("the search starts at the hint and goes around the end", () => {
  const bitmap = withFree(200, [10, 150]);
  assert.equal(bitmap.take(100), 150);
  assert.equal(bitmap.take(151), 10);
  assert.equal(bitmap.take(0), -1);
});

test("a run is found in a nearly full bitmap, and one page too few is none", () => {
  for (let order = 0; order <= 9; order++) {
    const length = 2 ** order;
    const first = 3 * 512 + (length < 32 ? 5 * length : 0);
    const bitmap = withFree(4096, range(first, first + length));
    assert.equal(bitmap.takeRun(order), first, `order ${order}`);
    assert.equal(bitmap.count, 0);
    if (order === 0) continue;
    const shy = withFree(4096, range(first, first + length - 1));
    assert.equal(shy.takeRun(order), -1, `order ${order}, a page short`);
    assert.equal(shy.count, length - 1, "what was looked at is still free");
    assert.equal(shy.takeRun(order - 1), first);
  }
});

test("free pages that stand across the alignment are no run", () => {
  assert.equal(withFree(128, range(2, 6)).takeRun(2), -1);
  assert.equal(withFree(128, range(16, 80)).takeRun(6), -1);
});

test("words set while building are counted when it ends", () => {
  const bitmap = new FreePages(2048);
  bitmap.releaseWord(0, 0);
  bitmap.releaseWord(1, -1);
  bitmap.releaseWord(63, 1 << 31);
  bitmap.countBits();
  assert.equal(bitmap.count, 33);
  assert.ok(bitmap.has(32) && bitmap.has(2047) && !bitmap.has(0) && !bitmap.has(64));
  assert.equal(bitmap.take(64), 2047);
});

test("a page that is released twice is a defect, not a free page", () => {
  const bitmap = withFree(64, [5]);
  assert.throws(() => bitmap.release(5), /released once/);
});

test("who wants to know is told of each page that is released by itself", () => {
  const bitmap = withFree(64, [1]);
  const told: number[] = [];
  bitmap.onRelease = (page) => told.push(page);
  bitmap.release(7);
  bitmap.releaseAll(10, 20);
  assert.deepEqual(told, [7]);
});

test("threads that take and give back at once never have a page twice, and none gets lost", async (t) => {
  const bitmap = withFree(200, range(0, 200));
  const shared = bitmap.share();
  const taken = await Promise.all(
    [2, 3, 4, 5].map((thread) => inThread<number[]>(t, { act: "take", shared, pages: 200, thread })),
  );
  const out = taken.flat();
  assert.equal(new Set(out).size, out.length, "a page that two threads have");
  assert.equal(bitmap.count, 200 - out.length);
  for (const page of range(0, 200)) assert.equal(bitmap.has(page), !out.includes(page), `page ${page}`);
});

test("the stamp of a page is another one after every release, whichever thread releases it", () => {
  const ours = withFree(200, [9]);
  const theirs = new FreePages(200, ours.share(), 2);
  const stamps = new Set([ours.stampOf(9)]);
  for (let k = 0; k < 100; k++) {
    const by = k % 2 === 0 ? ours : theirs;
    assert.equal(by.take(9), 9);
    assert.ok(stamps.has(ours.stampOf(9)), "taking a page changes nothing");
    by.release(9);
    assert.ok(!stamps.has(ours.stampOf(9)));
    stamps.add(theirs.stampOf(9));
  }
});
