/** Hazard: a page that is not where the program put it, or that is somebody else's by now. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Instance, PageRegion } from "../src/region/index.ts";
import { afterClose, afterDeath, freshRegion, refusal, type Trial } from "./support/region.ts";

const make = (region: PageRegion, name: string, sizeBytes?: number): Instance =>
  region.instance("test", name, sizeBytes === undefined ? { create: true } : { create: true, sizeBytes });
const open = (region: PageRegion, name = "a"): Instance => region.instance("test", name);
/** Fills a page with a text and zeroes. */
const put = (instance: Instance, index: number, text: string): void => {
  const content = Buffer.alloc(512);
  content.write(text);
  instance.write(index, content);
};
const at = (instance: Instance, index: number): string =>
  Buffer.from(instance.read(index)).toString("latin1").replace(/\0+$/, "");

/** Both ways in which a region is found again. */
function reopened(trial: Trial): PageRegion[] {
  return [afterDeath(trial).region, afterClose(trial).region];
}

test("what was written is there after a death and after a close", () => {
  const trial = freshRegion();
  const instance = make(trial.region, "a");
  for (const index of [0, 1, 1023, 1024, 70_000, 2 ** 31, 2 ** 32 - 1]) put(instance, index, `page ${index}`);
  put(instance, 1, "again");
  for (const region of reopened(trial)) {
    const found = open(region);
    assert.deepEqual(Array.from(found.indices()), [0, 1, 1023, 1024, 70_000, 2 ** 31, 2 ** 32 - 1]);
    assert.equal(at(found, 1), "again");
    assert.equal(at(found, 2 ** 32 - 1), `page ${2 ** 32 - 1}`);
    assert.equal(found.pageCount, 7);
  }
});

test("a part of a page is written over what is there, and over zeroes where nothing is", () => {
  const { region } = freshRegion();
  const instance = make(region, "a");
  instance.write(5, Buffer.from("middle"), 100);
  instance.write(5, Buffer.from("MID"), 100);
  instance.write(5, Uint8Array.of(9), 511);
  const expected = new Uint8Array(512);
  expected.set(Buffer.from("MIDdle"), 100);
  expected[511] = 9;
  assert.deepEqual(instance.read(5), expected);
  const part = new Uint8Array(3).fill(1);
  instance.readInto(5, 102, part);
  assert.equal(Buffer.from(part).toString(), "Ddl");
  instance.readInto(6, 0, part);
  assert.deepEqual(Array.from(part), [0, 0, 0]);
});

test("bytes that are not all of one page are neither written nor read", () => {
  const { region } = freshRegion();
  const instance = make(region, "a");
  put(instance, 0, "kept");
  assert.throws(() => instance.write(0, new Uint8Array(513)), refusal("EINVAL"));
  for (const within of [-1, 510, 512]) {
    assert.throws(() => instance.write(0, new Uint8Array(3), within), refusal("EINVAL"));
    assert.throws(() => instance.readInto(0, within, new Uint8Array(3)), refusal("EINVAL"));
  }
  assert.equal(at(instance, 0), "kept");
});

test("indices beyond the size, and what is no index, are refused by every operation", () => {
  const { region } = freshRegion();
  const instance = make(region, "a", 1000);
  put(instance, 1, "the last page, which only partly belongs");
  for (const index of [2, -1, 0.5, 2 ** 32, Number.NaN]) {
    const acts: (() => unknown)[] = [
      () => instance.ensure(index),
      () => instance.get(index),
      () => instance.has(index),
      () => instance.read(index),
      () => put(instance, index, "x"),
      () => instance.free(index),
      () => instance.ensureVolatile(index),
      () => instance.freeVolatile(index),
      () => instance.keep(index),
      () => instance.handOver(index, instance, 0),
      () => instance.handOver(1, instance, index),
      () => instance.ensureRun(index, 1),
    ];
    for (const act of acts) assert.throws(act, refusal("EINVAL"), `${String(act)} at ${index}`);
  }
  assert.equal(instance.pageCount, 1);
});

test("pages are made of zeroes, found once made, and gone once freed", () => {
  const trial = freshRegion();
  const instance = make(trial.region, "a");
  const free = trial.region.info().freePages;
  put(instance, 0, "dirt");
  instance.free(0);
  assert.throws(() => instance.get(3), refusal("ENODATA"));
  assert.equal(instance.has(3), false);
  // Every page is taken once, so that the one with the dirt is among them.
  const count = trial.region.info().freePages - trial.region.info().reservePages;
  for (let index = 0; index < count; index++) {
    using page = instance.ensure(index);
    assert.ok(page.bytes.every((byte) => byte === 0));
  }
  for (let index = 0; index < count; index++) assert.equal(instance.free(index), true);
  assert.equal(instance.free(0), false);
  assert.equal(trial.region.info().freePages, free);
  assert.deepEqual(Array.from(afterDeath(trial).region.instance("test", "a").indices()), []);
});

test("iteration gives what is there, in order, between its bounds", () => {
  const { region } = freshRegion();
  const instance = make(region, "a", 5000 * 512);
  for (const index of [4, 9, 10, 11, 4000]) put(instance, index, "x");
  assert.deepEqual(Array.from(instance.indices(5, 11)), [9, 10]);
  assert.deepEqual(Array.from(instance.indices(0, 2 ** 32)), [4, 9, 10, 11, 4000]);
  assert.deepEqual([instance.nextPage(5, 100), instance.nextPage(12, 100), instance.nextHole(9, 100)], [9, 100, 12]);
});

test("a deleted instance is gone with all its pages, and its handles touch nothing", () => {
  const trial = freshRegion();
  const before = trial.region.info().freePages;
  make(trial.region, "keeps the directory");
  const [doomed, other] = [make(trial.region, "a"), open(trial.region)];
  for (let index = 0; index < 50; index++) put(doomed, index, "x");
  doomed.purge();
  const handles: ((instance: Instance) => unknown)[] = [
    (instance) => instance.read(0),
    (instance) => put(instance, 0, "y"),
    (instance) => instance.ensure(0),
    (instance) => instance.has(0),
    (instance) => Array.from(instance.indices()),
    (instance) => instance.nextPage(0, 9),
    (instance) => instance.nextHole(0, 9),
    (instance) => instance.free(0),
    (instance) => instance.resize(512),
    (instance) => instance.setAttributes(new Uint8Array(1)),
    (instance) => instance.ensureRun(0, 1),
    (instance) => instance.publish(),
    (instance) => instance.delete(),
  ];
  for (const act of handles) {
    assert.throws(() => act(doomed), refusal("ENOENT"), String(act));
    assert.throws(() => act(other), refusal("ENOENT"), String(act));
  }
  assert.throws(() => open(trial.region), refusal("ENOENT"));
  for (const region of reopened(trial)) {
    assert.deepEqual(
      region.list().map(({ name }) => name),
      ["keeps the directory"],
    );
    assert.ok(before - region.info().freePages <= 8, "only the directory grew");
  }
});

test("shrinking frees what lies beyond, and growing again does not bring it back", () => {
  const trial = freshRegion();
  const instance = make(trial.region, "a", 10 * 512);
  for (let index = 0; index < 10; index++) put(instance, index, `${index}`);
  instance.resize(3 * 512 + 1);
  assert.equal(instance.pageCount, 4);
  assert.throws(() => instance.read(4), refusal("EINVAL"));
  instance.resize(2 ** 40);
  assert.deepEqual(Array.from(instance.indices()), [0, 1, 2, 3]);
  for (const region of reopened(trial)) {
    assert.deepEqual(Array.from(open(region).indices()), [0, 1, 2, 3]);
    assert.equal(open(region).sizeBytes, 2 ** 40);
  }
});

test("sizes that are none are refused", () => {
  const { region } = freshRegion();
  const instance = make(region, "a");
  for (const size of [-1, 0.5, 2 ** 53, Number.NaN]) assert.throws(() => instance.resize(size), refusal("EINVAL"));
  instance.resize(0);
  assert.throws(() => put(instance, 0, "x"), refusal("EINVAL"));
});

test("volatile pages come from the same memory and vanish with the next open, unless they are kept", () => {
  const trial = freshRegion();
  const instance = make(trial.region, "a");
  for (const index of [1, 2, 3]) {
    using page = instance.ensureVolatile(index);
    page.bytes.set(Buffer.from(`volatile ${index}`));
  }
  assert.equal(instance.has(1), false, "they stand beside the persistent ones");
  put(instance, 2, "persistent");
  instance.keep(1);
  instance.keep(2);
  assert.throws(() => instance.keep(2), refusal("ENODATA"));
  assert.equal(at(instance, 2), "volatile 2");
  assert.equal(instance.pageCount, 3);
  for (const region of reopened(trial)) {
    const found = open(region);
    assert.deepEqual(Array.from(found.indices()), [1, 2]);
    assert.equal(at(found, 1), "volatile 1");
    assert.equal(region.start.recovered.volatile, 1);
    assert.equal(found.freeVolatile(3), false);
  }
});

test("a volatile page can be freed", () => {
  const { region } = freshRegion();
  const instance = make(region, "a");
  const before = region.info().freePages;
  instance.ensureVolatile(7)[Symbol.dispose]();
  assert.equal(region.info().freePages, before - 1);
  assert.equal(instance.freeVolatile(7), true);
  assert.equal(instance.freeVolatile(7), false);
  assert.equal(region.info().freePages, before);
});

test("a page is handed over without being moved, both ways", () => {
  const trial = freshRegion();
  const [a, b] = [make(trial.region, "a"), make(trial.region, "b")];
  put(a, 0, "from a");
  put(b, 9, "from b");
  using page = a.get(0);
  const { number } = page;
  page[Symbol.dispose]();
  a.handOver(0, b, 5);
  b.handOver(9, a, 5);
  a.handOver(5, a, 6);
  b.handOver(5, b, 5);
  const free = trial.region.info().freePages;
  for (const region of reopened(trial)) {
    assert.deepEqual([Array.from(open(region).indices()), Array.from(open(region, "b").indices())], [[6], [5]]);
    assert.deepEqual([at(open(region), 6), at(open(region, "b"), 5)], ["from b", "from a"]);
    using moved = open(region, "b").get(5);
    assert.equal(moved.number, number, "the page stayed where it was");
    assert.equal(region.info().freePages, free);
    moved[Symbol.dispose]();
    open(region).handOver(6, open(region, "b"), 5);
    assert.equal(at(open(region, "b"), 5), "from b");
    assert.equal(region.info().freePages, free + 1, "what stood there is freed");
  }
});

test("hand-over refuses holes and other regions", () => {
  const [one, two] = [freshRegion(), freshRegion()];
  const [a, b] = [make(one.region, "a"), make(two.region, "a")];
  assert.throws(() => a.handOver(0, a, 1), refusal("ENODATA"));
  put(a, 0, "mine");
  assert.throws(() => a.handOver(0, b, 0), refusal("EINVAL"));
  assert.equal(at(open(afterDeath(one).region), 0), "mine");
});

test("a region without room takes no new page, but overwriting goes on for ever", () => {
  const trial = freshRegion();
  const instance = make(trial.region, "a");
  let count = 0;
  assert.throws(() => {
    for (; ; count++) put(instance, count, `first ${count}`);
  }, refusal("ENOSPC"));
  const { freePages, reservePages } = trial.region.info();
  assert.equal(freePages, reservePages);
  for (let k = 0; k < 5000; k++) put(instance, k % count, `round ${k}`);
  for (const act of [
    () => instance.ensure(count),
    () => instance.ensureVolatile(0),
    () => instance.ensureRun(count, 1),
    () => put(instance, 2 ** 20, "x"),
  ]) {
    const before = trial.recording.image.slice();
    assert.throws(act, refusal("ENOSPC"));
    assert.deepEqual(trial.recording.image, before, "a refusal leaves the image as it was");
  }
  instance.free(0);
  put(instance, 2 ** 20, "one again");
  for (const region of reopened(trial)) {
    assert.equal(open(region).pageCount, count);
    assert.equal(at(open(region), 1), `round ${4999 - ((4999 - 1) % count)}`);
  }
});

test("the high-water mark is raised a chunk at a time, and every page can be had", () => {
  const trial = freshRegion(1000, { chunkPages: 100 });
  const { pages, metadataPages, reservePages, freePages } = trial.region.info();
  assert.equal(freePages, pages - metadataPages);
  const instance = make(trial.region, "a");
  let count = 0;
  assert.throws(() => {
    for (; ; count++) put(instance, count, `${count}`);
  }, refusal("ENOSPC"));
  const directory = freePages - reservePages - count;
  assert.ok(directory >= 1 && directory <= 8, `${directory} pages of directory`);
  const numbers = new Set<number>();
  for (let index = 0; index < count; index++) {
    using page = instance.get(index);
    numbers.add(page.number);
  }
  assert.equal(numbers.size, count);
  for (const region of reopened(trial)) assert.equal(at(open(region), count - 1), `${count - 1}`);
});

test("an instance that is opened again is the same instance", () => {
  const { region } = freshRegion();
  const first = make(region, "a");
  const second = make(region, "a");
  put(first, 0, "shared");
  assert.equal(at(second, 0), "shared");
  assert.equal(second.pageCount, 1);
});

test("sizes that no index reaches are refused, and looking around at the end finds nothing", () => {
  const { region } = freshRegion();
  const most = 2 ** 32 * 512;
  for (const sizeBytes of [most + 1, 2 ** 53, -1, 0.5, Number.NaN]) {
    assert.throws(() => region.instance("test", "a", { create: true, sizeBytes }), refusal("EINVAL"));
  }
  const a = region.instance("test", "a", { create: true, sizeBytes: most });
  a.write(2 ** 32 - 1, Buffer.from("last"));
  a.write(2000, Buffer.from("text"));
  assert.deepEqual([...a.indices()], [2000, 2 ** 32 - 1]);
  assert.equal(a.nextPage(2 ** 32, 2 ** 33), 2 ** 33);
  assert.equal(a.nextHole(2 ** 32 - 1, 2 ** 33), 2 ** 33);
  assert.throws(() => a.resize(most + 512), refusal("EINVAL"));
  assert.throws(() => a.nextPage(0.5, 9), refusal("EINVAL"));
});

test("a name with U+FFFD is refused: what is no UTF-8 reads as that", () => {
  const { region } = freshRegion();
  assert.throws(() => region.instance("test", "a\ufffd", { create: true }), refusal("EINVAL"));
});
