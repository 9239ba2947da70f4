/** Hazard: a repair that does not say what became of an instance: what was lost, and where the rest of it is now. */
import assert from "node:assert/strict";
import { closeSync, openSync, readFileSync, statSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { isPerdureError } from "../src/index.ts";
import { kind, makeClaim } from "../src/region/claim.ts";
import {
  analyze,
  describeMend,
  PageRegion,
  type RepairReport,
  repairMemory,
  repairRegion,
} from "../src/region/index.ts";
import { stateSlots } from "../src/region/layout.ts";
import { filled } from "./crash/operations.ts";
import { memoryFolder } from "./support/cli.ts";
import { memoryOf, resealedGeometry, shapeOf, stateOf } from "./support/images.ts";
import { closedLayers, closedReference, crashedLayers, crashedReference } from "./support/references.ts";
import { describeInstances, openCopy, refusal } from "./support/region.ts";
import { ThinMemory } from "./support/thin-memory.ts";

/** Where the page at an index of an instance is. */
function pageOf(image: Uint8Array, owner: number, index: number): number {
  return analyze(memoryOf(image.slice())).instances.get(owner)?.data.get(index) ?? 0;
}

function claim(image: Uint8Array, page: number, [owner, kindNumber, index, revision = 0]: readonly number[]): void {
  const words = Uint32Array.of(index, makeClaim(page, index, kindNumber, revision, owner));
  image.set(new Uint8Array(words.buffer), shapeOf(image).entryOffset(page));
}

function zeroDirectory(image: Uint8Array): void {
  const { directory } = closedReference();
  for (const page of directory.slice(0, 2)) image.fill(0, page * 512, (page + 1) * 512);
}

/** What the analysis of a closed reference finds damaged. */
const damages: readonly { name: string; damage: (image: Uint8Array) => void }[] = [
  { name: "an entry", damage: (image) => void (image[shapeOf(image).entryOffset(pageOf(image, 2, 0)) + 4] ^= 1) },
  { name: "a page of the directory", damage: (image) => zeroDirectory(image) },
  { name: "the superblock", damage: (image) => void image.fill(0, 12, 200) },
];

interface Repaired {
  readonly report: RepairReport;
  readonly text: string;
  readonly region: PageRegion;
}

function repaired(image: Uint8Array): Repaired {
  const report = repairMemory(memoryOf(image));
  return { report, text: report.mends.map(describeMend).join("\n"), region: openCopy(image).region };
}

describe("a repair says what it did, and nothing is gone that was there", () => {
  test("an instance whose record is lost keeps its pages at their indices, under another name", () => {
    const { image, directory } = closedReference();
    for (const page of [directory[0], directory[1]]) image.fill(0x5a, page * 512, (page + 1) * 512);
    const { report, text, region } = repaired(image);
    assert.match(text, /directory \(owner 2\): its record is lost: its pages are rescued "lost\+found-2"/);
    assert.deepEqual(region.instance("rescued", "lost+found-2").read(256), filled(356));
    assert.ok(report.lossCount > 0);
    assert.deepEqual(
      report.instances.map(({ name, isSound }) => [name, isSound]),
      [
        ["lost+found-2", true],
        ["bob", true],
      ],
    );
  });

  test("a layer that stands on a record that is lost goes on to show its pages", () => {
    const { image } = crashedLayers();
    const before = openCopy(image).region;
    const shown = Array.from(before.instance("crash", "cleo").indices());
    const { directoryPages } = analyze(memoryOf(image.slice()));
    // The hidden layer, on which two others stand.
    for (const page of [directoryPages[0], directoryPages[1]]) image.fill(0xff, page * 512, (page + 1) * 512);
    const { region } = repaired(image);
    assert.deepEqual(Array.from(region.instance("crash", "cleo").indices()), shown);
    assert.equal(region.list("rescued")[0].readOnly, true);
  });

  test("two damaged copies of a record are put together where they are damaged in different places", () => {
    const { image, directory } = crashedReference();
    image[directory[0] * 512 + 40] ^= 4;
    image[directory[1] * 512 + 300] ^= 64;
    const { report, text, region } = repaired(image);
    assert.match(text, /directory \(owner 2\): put together from its two slots/);
    assert.equal(report.lossCount, 0);
    assert.equal(region.instance("crash", "ann").sizeBytes, 300 * 512);
  });

  test("a second page of one name is kept apart", () => {
    const { image } = crashedReference();
    const page = pageOf(image, 2, 256);
    const { region: before } = openCopy(image);
    const { freePages } = analyze(memoryOf(image.slice()));
    const free = freePages.take(0);
    image.set(filled(77), free * 512);
    claim(image, free, [2, kind.data, 256, 2]);
    const { text, region } = repaired(image);
    assert.match(
      text,
      /moved to rescued "lost\+found" at index 0: a second page of one name, was DATA owner 2 index 256/,
    );
    const kept = [region.instance("crash", "ann").read(256), region.instance("rescued", "lost+found").read(0)];
    assert.ok(page !== 0);
    assert.deepEqual(
      new Set(kept.map(String)),
      new Set([before.instance("crash", "ann").read(256), filled(77)].map(String)),
    );
  });

  test("an entry that a flipped bit would put where it cannot stand is not believed", () => {
    const { image } = crashedReference();
    const page = pageOf(image, 2, 256);
    const content = image.slice(page * 512, (page + 1) * 512);
    // Beyond the size of its instance: the next open would withdraw it.
    claim(image, page, [2, kind.data, 2 ** 20 + 256]);
    image[shapeOf(image).entryOffset(page)] ^= 1;
    const { text, region } = repaired(image);
    assert.match(text, /moved to rescued "lost\+found" at index 0: an entry that is damaged/);
    assert.deepEqual(region.instance("rescued", "lost+found").read(0), content);
  });

  test("an entry with two flipped bits is as the last close left it", () => {
    const { image } = closedReference();
    const entry = shapeOf(image).entryOffset(pageOf(image, 2, 255));
    image[entry] ^= 1;
    image[entry + 5] ^= 8;
    const { report, text, region } = repaired(image);
    assert.match(text, /bits 0 and 43 of its entry flipped back, as the last close left it: DATA owner 2 index 255/);
    assert.equal(report.lossCount, 0);
    assert.equal(region.start.reason, "closed");
  });

  test("a run that has lost its head stays as single pages", () => {
    const { image } = crashedReference();
    const head = pageOf(image, 3, 4);
    image.fill(0xee, shapeOf(image).entryOffset(head), shapeOf(image).entryOffset(head + 1));
    image.fill(1, head * 512, (head + 4) * 512);
    const { region } = repaired(image);
    const bob = region.instance("crash", "bob");
    assert.deepEqual(
      [4, 5, 6, 7].map((index) => bob.has(index)),
      [false, true, true, true],
    );
    assert.equal(region.instance("rescued", "lost+found").read(0)[0], 1);
  });

  test("a bit of a mask is as the last close left it, and told where nobody knows", () => {
    for (const make of [closedLayers, crashedLayers]) {
      const { image, masks } = make();
      const before = openCopy(image).region;
      const ann = Array.from(before.instance("crash", "ann").indices());
      // Index 1 of a layer is masked.
      const page = masks.find((one) => (image[one * 512] & 0b1100) === 0b1100) ?? 0;
      image[page * 512] ^= 0b0100;
      const { report, region } = repaired(image);
      if (make === closedLayers) assert.deepEqual(Array.from(region.instance("crash", "ann").indices()), ann);
      assert.equal(report.lossCount, make === closedLayers ? 0 : 1);
    }
  });

  test("both slots of the state record: the mark from the table, the generation from the lives", () => {
    const { image } = closedReference();
    const { marks, generation } = stateOf(image);
    for (const slot of [stateSlots.a, stateSlots.b]) image.fill(0x11, slot, slot + 512);
    const { text, region } = repaired(image);
    assert.match(text, /^state: made anew/);
    assert.equal(region.start.generation, generation + 1);
    assert.deepEqual(stateOf(image).marks, marks);
  });

  test("a superblock of zeroes, as a lost page leaves it: all from the copy and the table", () => {
    const { image } = crashedLayers();
    const before = describeInstances(openCopy(image).region);
    image.fill(0, 0, 4096);
    const { report, region } = repaired(image);
    assert.deepEqual(describeInstances(region), before);
    assert.equal(report.lossCount, 1);
  });
});

describe("a repair takes memory for what it stores, and for nothing else", () => {
  test("a thin region stays thin", async (t) => {
    const path = join(memoryFolder(t), "thin.region");
    const region = await PageRegion.open(path, { create: true, size: "256M", thin: true });
    region.instance("test", "a", { create: true }).write(0, Uint8Array.of(1));
    await region.close();
    const image = readFileSync(path).subarray(0, 2 ** 20);
    const offset = shapeOf(image).entryOffset(pageOf(readFileSync(path), 2, 0));
    const file = openSync(path, "r+");
    writeSync(file, Uint8Array.of(image[offset + 4] ^ 1), 0, 1, offset + 4);
    closeSync(file);
    const before = statSync(path).blocks;
    const report = await repairRegion(path);
    assert.ok(report.mendCount > 0);
    assert.ok(statSync(path).blocks - before <= 64, `${before} blocks became ${statSync(path).blocks}`);
  });

  // No hole is touched, and a full file system is ENOSPC.
  for (const { name, damage } of damages) {
    test(`${name}, in a file that was copied without its zeroes`, () => {
      const { image } = closedReference();
      damage(image);
      const memory = ThinMemory.sparseCopy(image, 8192);
      memory.roomBlocks = 0;
      try {
        repairMemory(memory);
      } catch (error) {
        assert.ok(isPerdureError(error, "ENOSPC"), String(error));
        assert.deepEqual(memory.recording.image, image);
        memory.roomBlocks = 1000;
        repairMemory(memory);
      }
      assert.equal(analyze(memory).findingCount, 0);
    });
  }
});

describe("what is not repaired", () => {
  test("a memory whose superblock somebody else has written over", () => {
    const { image } = closedReference();
    image.fill(0, 0, 1536);
    const before = image.slice();
    assert.throws(() => repairMemory(memoryOf(image)), refusal("FOREIGN_DATA"));
    assert.deepEqual(image, before);
  });

  test("a memory of another format, or with features that nobody knows", () => {
    const { image } = closedReference();
    const other = image.slice();
    other[8] = 7;
    assert.throws(() => repairMemory(memoryOf(other)), refusal("UNKNOWN_FORMAT"));
    for (const at of [20, 24]) {
      const unknown = image.slice();
      resealedGeometry(unknown, (bytes) => bytes.fill(0x80, at, at + 1));
      unknown[shapeOf(image).entryOffset(20)] ^= 1;
      const before = unknown.slice();
      assert.throws(() => repairMemory(memoryOf(unknown)), refusal("UNSUPPORTED_VERSION"));
      assert.deepEqual(unknown, before);
    }
  });

  test("a region that another process, or this one, has open for writing", async (t) => {
    const path = join(memoryFolder(t), "kept.region");
    writeFileSync(path, closedReference().image, { mode: 0o600 });
    using region = await PageRegion.open(path);
    await assert.rejects(repairRegion(path), refusal("LOCKED"));
    assert.equal(region.list().length, 2);
  });
});
