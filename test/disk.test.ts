/** Hazard: a disk that gives back other bytes than were written, or never gives memory back. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import type { Extent } from "../src/device/index.ts";
import { type Disk, Disks } from "../src/disk/index.ts";
import { afterClose, afterDeath, freshRegion, refusal, type Trial } from "./support/region.ts";
import { seed } from "./support/seed.ts";

const disksOf = ({ region }: Trial): Disks => new Disks(region);
function freshDisk(sizeBytes: number, pages = 2000): { trial: Trial; disk: Disk } {
  const trial = freshRegion(pages);
  return { trial, disk: disksOf(trial).open("pram0", { create: true, size: sizeBytes }) };
}
const contentOf = (disk: Disk): Uint8Array => {
  const content = new Uint8Array(disk.sizeBytes).fill(0xee);
  disk.read(0, content);
  return content;
};

/** Sizes whose last block is whole, and one whose last block is not. */
const SIZES = [64 * 512, 64 * 512 + 512, 16 * 4096];

type Step =
  | { readonly do: "read"; readonly at: number; readonly length: number }
  | { readonly do: "write"; readonly at: number; readonly length: number; readonly value: number }
  | { readonly do: "trim"; readonly at: number; readonly length: number }
  | { readonly do: "zero"; readonly at: number; readonly length: number; readonly keepAllocated: boolean }
  | { readonly do: "extents"; readonly at: number; readonly length: number; readonly limit: number }
  | { readonly do: "grow"; readonly sectors: number }
  | { readonly do: "reopen"; readonly crash: boolean };

const place = { at: fc.nat(), length: fc.oneof(fc.nat(600), fc.nat(20_000)) };
const stepArbitrary: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ do: fc.constant("read"), ...place }),
  { weight: 3, arbitrary: fc.record({ do: fc.constant("write"), ...place, value: fc.integer({ min: 1, max: 255 }) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("trim"), ...place }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("zero"), ...place, keepAllocated: fc.boolean() }) },
  fc.record({ do: fc.constant("extents"), ...place, limit: fc.integer({ min: 1, max: 20 }) }),
  fc.record({ do: fc.constant("grow"), sectors: fc.nat(9) }),
  fc.record({ do: fc.constant("reopen"), crash: fc.boolean() }),
) as fc.Arbitrary<Step>;

/** A disk beside a plain buffer that must always hold the same. */
class Pair {
  #trial: Trial;
  #disk: Disk;
  #plain: Uint8Array;

  constructor(sizeBytes: number, pageBytes: number) {
    this.#trial = freshRegion(1_000_000 / pageBytes, { pageBytes });
    this.#disk = disksOf(this.#trial).open("pram0", { create: true, size: sizeBytes });
    this.#plain = new Uint8Array(sizeBytes);
  }

  run(step: Step): void {
    if (step.do === "grow") this.#grow(step.sectors);
    else if (step.do === "reopen") this.#reopen(step.crash);
    else {
      const at = step.at % this.#plain.length;
      this.#access(step, at, Math.min(step.length, this.#plain.length - at));
    }
  }

  verify(): void {
    assert.ok(Buffer.from(this.#plain).equals(contentOf(this.#disk)));
    checkExtents(this.#disk.extents(0, this.#plain.length, 2 ** 20), this.#plain, 0);
  }

  #access(step: Exclude<Step, { do: "grow" | "reopen" }>, at: number, length: number): void {
    const plain = this.#plain.subarray(at, at + length);
    if (step.do === "read") {
      const target = new Uint8Array(length).fill(0xee);
      this.#disk.read(at, target);
      assert.ok(Buffer.from(plain).equals(target));
    } else if (step.do === "write") {
      const source = Uint8Array.from(plain, (_, k) => (step.value + k) & 0xff);
      this.#disk.write(at, source);
      plain.set(source);
    } else if (step.do === "extents") {
      const extents = this.#disk.extents(at, length, step.limit);
      assert.ok(extents.length <= step.limit);
      checkExtents(extents, this.#plain, at);
    } else {
      if (step.do === "trim") this.#disk.trim(at, length);
      else this.#disk.zero(at, length, step);
      plain.fill(0);
    }
  }

  #grow(sectors: number): void {
    const plain = new Uint8Array(this.#plain.length + 512 * sectors);
    plain.set(this.#plain);
    this.#plain = plain;
    this.#disk.grow(plain.length);
  }

  #reopen(crash: boolean): void {
    this.#trial = crash ? afterDeath(this.#trial) : afterClose(this.#trial);
    this.#disk = disksOf(this.#trial).open("pram0");
  }
}

function checkExtents(extents: readonly Extent[], plain: Uint8Array, from: number): void {
  let at = from;
  extents.forEach((extent, k) => {
    assert.ok(extent.lengthBytes > 0);
    if (k > 0) assert.notEqual(extent.hole, extents[k - 1].hole, "neighbours differ");
    const end = at + extent.lengthBytes;
    if (extent.zero)
      assert.ok(
        plain.subarray(at, end).every((byte) => byte === 0),
        "a hole reads as zeroes",
      );
    at = end;
  });
  assert.ok(at <= plain.length);
}

for (const pageBytes of [512, 4096]) {
  test(`random accesses give what a plain buffer gives, pages of ${pageBytes} bytes (PERDURE_SEED=${seed})`, () => {
    const steps = fc.array(stepArbitrary, { minLength: 5, maxLength: 40 });
    const property = fc.property(fc.constantFrom(...SIZES), steps, (size, sequence) => {
      const pair = new Pair(size, pageBytes);
      for (const step of sequence) pair.run(step);
      pair.verify();
    });
    fc.assert(property, { seed, numRuns: 60 });
  });
}

test("a disk is empty when it is made, takes no memory, and reads as zeroes", () => {
  const { disk, trial } = freshDisk(300 * 512);
  const free = trial.region.info().freePages;
  assert.equal(disk.allocatedBytes, 0);
  assert.ok(contentOf(disk).every((byte) => byte === 0));
  assert.deepEqual(disk.extents(0, disk.sizeBytes, 9), [{ lengthBytes: 300 * 512, hole: true, zero: true }]);
  assert.equal(trial.region.info().freePages, free);
  assert.deepEqual([disk.name, disk.sizeBytes, disk.blockBytes, disk.readOnly], ["pram0", 300 * 512, 512, false]);
});

test("memory that is trimmed, zeroed without keeping or deleted is given back", () => {
  const { disk, trial } = freshDisk(100 * 512);
  const free = (): number => trial.region.info().freePages;
  const empty = free();
  disk.write(0, new Uint8Array(100 * 512).fill(1));
  assert.equal(free(), empty - 100);
  disk.trim(100, 10 * 512);
  assert.equal(free(), empty - 91, "the two blocks at the ends stay, zeroed in part");
  disk.zero(20 * 512, 10 * 512, { keepAllocated: false });
  assert.equal(free(), empty - 81);
  disk.zero(0, 40 * 512, { keepAllocated: true });
  assert.equal(free(), empty - 100, "what is kept is reserved, also where there was nothing");
  assert.equal(disk.allocatedBytes, 100 * 512);
  disk.purge();
  assert.equal(free(), empty);
  assert.deepEqual(disksOf(trial).list(), []);
});

test("a last block that is shorter than a page is trimmed as a whole", () => {
  const trial = freshRegion(64, { pageBytes: 4096 });
  const disk = disksOf(trial).open("odd", { create: true, size: 4096 + 512 });
  const { freePages } = trial.region.info();
  disk.write(4096, new Uint8Array(512).fill(1));
  disk.trim(4096, 512);
  assert.equal(trial.region.info().freePages, freePages);
  disk.grow(3 * 4096);
  assert.ok(contentOf(disk).every((byte) => byte === 0));
});

test("extents tell runs of written and unwritten blocks, clipped to what was asked", () => {
  const { disk } = freshDisk(100 * 512);
  for (const block of [3, 4, 5, 50]) disk.write(block * 512, Uint8Array.of(1));
  const runs = (extents: readonly Extent[]): [number, boolean][] =>
    extents.map(({ lengthBytes, hole }) => [lengthBytes, hole]);
  assert.deepEqual(runs(disk.extents(0, 100 * 512, 9)), [
    [3 * 512, true],
    [3 * 512, false],
    [44 * 512, true],
    [512, false],
    [49 * 512, true],
  ]);
  assert.deepEqual(runs(disk.extents(4 * 512 + 7, 600, 9)), [[600, false]]);
  assert.deepEqual(runs(disk.extents(2 * 512 + 100, 1000, 9)), [
    [412, true],
    [588, false],
  ]);
  assert.deepEqual(runs(disk.extents(0, 100 * 512, 2)), [
    [3 * 512, true],
    [3 * 512, false],
  ]);
  assert.deepEqual(disk.extents(512, 0, 5), []);
});

test("accesses that are not all on the disk are refused, and nothing is stored", () => {
  const { disk, trial } = freshDisk(10 * 512);
  const before = trial.recording.image.slice();
  for (const [offset, length] of [
    [-1, 1],
    [10 * 512, 1],
    [9 * 512, 513],
    [0, 11 * 512],
  ]) {
    const acts: (() => unknown)[] = [
      () => disk.read(offset, new Uint8Array(length)),
      () => disk.write(offset, new Uint8Array(length)),
      () => disk.trim(offset, length),
      () => disk.zero(offset, length, { keepAllocated: true }),
      () => disk.zero(offset, length, { keepAllocated: false }),
      () => disk.extents(offset, length, 9),
    ];
    for (const act of acts) assert.throws(act, refusal("EINVAL"), `${String(act)} ${offset} ${length}`);
  }
  assert.deepEqual(trial.recording.image, before);
});

test("a full region: a new block is refused after whole ones, overwriting and trimming go on", () => {
  const { disk, trial } = freshDisk(1000 * 512, 320);
  const all = new Uint8Array(1000 * 512).fill(7);
  assert.throws(() => disk.write(0, all), refusal("ENOSPC"));
  const written = disk.allocatedBytes;
  assert.ok(written > 200 * 512 && written < 300 * 512);
  const content = contentOf(disk);
  assert.ok(content.subarray(0, written).every((byte) => byte === 7));
  assert.ok(content.subarray(written).every((byte) => byte === 0));
  for (let round = 0; round < 20; round++) disk.write(100, new Uint8Array(written - 100).fill(round));
  disk.trim(100, 1000);
  assert.throws(() => disk.write(written + 512, new Uint8Array(4 * 512)), refusal("ENOSPC"));
  disk.flush();
  assert.equal(afterDeath(trial).region.start.kind, "recovered");
});

test("a disk grows, keeps what it holds, and never shrinks", () => {
  const { disk, trial } = freshDisk(4 * 512);
  disk.write(0, new Uint8Array(4 * 512).fill(1));
  disk.grow(8 * 512);
  disk.grow(8 * 512);
  assert.throws(() => disk.grow(7 * 512), refusal("EINVAL"));
  for (const size of [0, -512, 1000, 2 ** 53]) assert.throws(() => disk.grow(size), refusal("EINVAL"));
  disk.write(7 * 512, new Uint8Array(512).fill(2));
  const found = disksOf(afterDeath(trial)).open("pram0");
  assert.equal(found.sizeBytes, 8 * 512);
  const content = contentOf(found);
  assert.deepEqual([content[0], content[4 * 512], content[8 * 512 - 1]], [1, 0, 2]);
});

describe("disks of a region", () => {
  test("are opened by name; one that is there keeps its size", () => {
    const trial = freshRegion();
    const disks = disksOf(trial);
    disks.open("pram1", { create: true, size: "4K" });
    disks.open("pram0", { create: true, size: 8192 }).write(0, Uint8Array.of(1));
    assert.equal(disks.open("pram1", { create: true, size: "1M" }).sizeBytes, 4096);
    assert.deepEqual(
      disks.list().map(({ name, sizeBytes, allocatedBytes }) => [name, sizeBytes, allocatedBytes]),
      [
        ["pram0", 8192, 512],
        ["pram1", 4096, 0],
      ],
    );
    assert.ok(disks.has("pram0") && !disks.has("pram2"));
    assert.equal(disksOf(afterClose(trial)).list().length, 2);
  });

  test("are not mixed up with instances of others", () => {
    const trial = freshRegion();
    trial.region.instance("test", "pram0", { create: true });
    assert.equal(disksOf(trial).has("pram0"), false);
    assert.throws(() => disksOf(trial).open("pram0"), refusal("ENOENT"));
  });

  test("need a size of whole sectors when they are made", () => {
    const disks = disksOf(freshRegion());
    assert.throws(() => disks.open("a"), refusal("ENOENT"));
    assert.throws(() => disks.open("a", { create: true }), refusal("EINVAL"));
    for (const size of [0, 100, "1000", "x", -512]) {
      assert.throws(() => disks.open("a", { create: true, size }), refusal("EINVAL"), String(size));
    }
    assert.throws(() => disks.open("x".repeat(256), { create: true, size: 512 }), refusal("ENAMETOOLONG"));
    assert.deepEqual(disks.list(), []);
  });

  test("are removed by name", () => {
    const disks = disksOf(freshRegion());
    const disk = disks.open("a", { create: true, size: 512 });
    disks.remove("a");
    assert.throws(() => disks.remove("a"), refusal("ENOENT"));
    assert.throws(() => disk.read(0, new Uint8Array(1)), refusal("ENOENT"));
  });
});
