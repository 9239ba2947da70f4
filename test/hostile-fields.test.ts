/**
 * Hazard: an image that somebody made on purpose, with every checksum right. It may be refused, or open to something
 * else; but nothing that it says may hang the program, throw what is no error of ours, or make a later operation do so.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { isPerdureError } from "../src/base/index.ts";
import { kind, makeClaim } from "../src/region/claim.ts";
import { analyze, PageRegion, repairMemory } from "../src/region/index.ts";
import {
  geometryLayout,
  lifeLayout,
  maxOwner,
  recordBytes,
  recordLayout,
  stateLayout,
  superblockOffsets,
} from "../src/region/layout.ts";
import { below, pick, seeded } from "../src/testing/index.ts";
import { lifeOffset, memoryOf, resealed, resealedGeometry, shapeOf } from "./support/images.ts";
import {
  closedLayers,
  closedReference,
  crashedLayers,
  crashedReference,
  type Reference,
} from "./support/references.ts";
import { formattedImage } from "./support/region.ts";
import { seed } from "./support/seed.ts";

const PATIENCE_MS = 2000;
const FORGED_CLAIMS = 4000;
/** Pairs of forged fields; and the share of all single ones that a run leaves out. */
const FORGED_PAIRS = 600;
const SKIPPED = Number(process.env["PERDURE_SKIPPED"] ?? 0.5);

/** Opens an image and does with it what programs do. Every refusal must be one of ours. @returns whether it opened */
function exercise(image: Uint8Array, context: string): boolean {
  const began = performance.now();
  const region = attempt(() => PageRegion.attach(memoryOf(image)), context);
  if (region !== undefined) {
    use(region, context);
    // What opened and was used as it is meant to be used opens again.
    mustDo(() => region[Symbol.dispose](), context);
    mustDo(() => PageRegion.attach(memoryOf(image)), `${context}, opened once more`);
  }
  assert.ok(performance.now() - began < PATIENCE_MS, `${context}: took ${performance.now() - began} ms`);
  return region !== undefined;
}

function use(region: PageRegion, context: string): void {
  for (const { subsystem, name } of region.list()) {
    const instance = region.instance(subsystem, name);
    for (const index of instance.indices()) attempt(() => instance.read(index), context);
    attempt(() => instance.setAttributes(Uint8Array.of(1)), context);
    attempt(() => instance.write(0, Uint8Array.of(1)), context);
    attempt(() => instance.resize(512), context);
    attempt(() => instance.delete(), context);
  }
  for (const life of region.info().lives) assert.ok(!Number.isNaN(life.opened.getTime()));
  assert.ok(!Number.isNaN(region.info().created.getTime()));
  attempt(() => region.instance("crash", "fresh", { create: true }).write(7, Uint8Array.of(7)), context);
  for (const { subsystem, name } of region.deleted()) attempt(() => region.purge(subsystem, name), context);
}

/** Refusals are fine where they are ours. */
function attempt<T>(act: () => T, context: string): T | undefined {
  try {
    return act();
  } catch (error) {
    if (isPerdureError(error)) return undefined;
    throw new Error(`${context}: ${(error as Error).stack}`, { cause: error });
  }
}

function mustDo(act: () => unknown, context: string): void {
  try {
    act();
  } catch (error) {
    throw new Error(`${context}: ${(error as Error).stack}`, { cause: error });
  }
}

const references: readonly Reference[] = [closedReference(), crashedReference()];
const pages = references[0].image.length / 512;
const values = [0, 1, 2, 3, 255, pages - 1, pages, pages + 1, 2 ** 20, 2 ** 21, 2 ** 31, 2 ** 32 - 2, 2 ** 32 - 1];

function setWord(bytes: Uint8Array, offset: number, value: number): void {
  bytes.set(new Uint8Array(Uint32Array.of(value).buffer), offset);
}

/** Every word of a structure forged to every value, one at a time and then the two of a u64 together. */
function* forgeries(sizeBytes: number): Generator<{ label: string; change: (bytes: Uint8Array) => void }> {
  for (let offset = 0; offset < sizeBytes - 4; offset += 4) {
    for (const value of values) {
      yield { label: `word ${offset} = ${value}`, change: (bytes) => setWord(bytes, offset, value) };
    }
    yield { label: `words ${offset} = 2^53 - 1`, change: (bytes) => setWord(bytes, offset, 2 ** 32 - 1) };
    yield {
      label: `words ${offset} = just below 2^53`,
      change: (bytes) => {
        setWord(bytes, offset, 2 ** 32 - 1);
        setWord(bytes, offset + 4, 2 ** 21 - 1);
      },
    };
  }
}

test("geometry: every word, with its checksum, in both places", (t) => {
  let [images, opened] = [0, 0];
  for (const { image } of references) {
    for (const { label, change } of forgeries(geometryLayout.fields.crc.offset)) {
      const forged = image.slice();
      resealedGeometry(forged, change);
      images++;
      opened += Number(exercise(forged, `geometry ${label}`));
    }
  }
  t.diagnostic(`${images} images, ${opened} opened`);
});

test("state record: every word, in one slot and in both", (t) => {
  let [images, opened] = [0, 0];
  for (const { image } of references) {
    for (const { label, change } of forgeries(130)) {
      for (const slots of [[superblockOffsets.recordA], [superblockOffsets.recordA, superblockOffsets.recordB]]) {
        const forged = image.slice();
        for (const slot of slots) resealed(forged, slot, stateLayout, change);
        images++;
        opened += Number(exercise(forged, `state ${label}, ${slots.length} slots`));
      }
    }
  }
  t.diagnostic(`${images} images, ${opened} opened`);
});

test("instance records: every word, in one slot and in both", (t) => {
  let [images, opened] = [0, 0];
  for (const { image, directory } of references) {
    for (const at of [0, 2]) {
      const [a, b] = [directory[at] * 512, directory[at + 1] * 512];
      for (const { label, change } of forgeries(recordLayout.fields.attributes.offset)) {
        for (const slots of [[b], [a, b]]) {
          const forged = image.slice();
          for (const slot of slots) resealed(forged, slot, recordLayout, change);
          images++;
          opened += Number(exercise(forged, `record at page ${directory[at]}, ${label}, ${slots.length} slots`));
        }
      }
    }
  }
  t.diagnostic(`${images} images, ${opened} opened`);
});

/**
 * What a reader and a repair do with an image: a reader stores nothing; a repair ends in a region that opens and in
 * which nothing is found, or is refused and has stored nothing.
 */
function exerciseRepair(image: Uint8Array, context: string): boolean {
  const reader = memoryOf(image.slice());
  attempt(() => analyze(reader), context);
  assert.equal(reader.recording.events.length, 0, context);
  const repaired = memoryOf(image.slice());
  try {
    repairMemory(repaired);
  } catch (error) {
    if (!isPerdureError(error)) throw new Error(`${context}: ${(error as Error).stack}`, { cause: error });
    assert.equal(repaired.recording.events.length, 0, `${context}: ${error.message}`);
    return false;
  }
  assert.equal(repairMemory(repaired).findingCount, 0, context);
  assert.ok(exercise(repaired.recording.image, `${context}, repaired`), `${context}: does not open`);
  return true;
}

const layers: Readonly<Record<string, Reference>> = {
  closed: closedLayers(),
  "left by a death": crashedLayers(),
  "left by a death, with checksums": crashedLayers(true),
};
/** Owners of `layers`: 2 hidden, 3 and on live, a deleted one, a pending one; others that there are not. */
const owners = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, maxOwner, maxOwner + 1, 2 ** 32 - 1];
const wide = [0, 1, 2, 511, 512, pages, 300 * 512, 2 ** 32 - 1, 2 ** 32, 2 ** 40, 2 ** 53 - 1];
const forgedFields = {
  state: [0, 1, 2, 3, 4, 5, 2 ** 32 - 1],
  owner: owners,
  parent: owners,
  source: owners,
  successor: owners,
  flags: [0, 1, 2, 3, 2 ** 31, 2 ** 32 - 1],
  reach: wide,
  sizeBytes: wide,
  quotaMinPages: wide,
  quotaMaxPages: wide,
  deletedMs: [...wide, 8.64e15, 8.64e15 + 1],
  sequence: [0, 1, 2 ** 52 - 2, 2 ** 52 - 1, 2 ** 52],
} as const;

for (const [name, { image, directory }] of Object.entries(layers)) {
  test(`records of layers, ${name}: every field that matters, alone and in two records`, (t) => {
    const random = seeded(seed);
    const records = Math.floor((directory.length * 512) / recordBytes);
    const tally = { images: 0, opened: 0, repaired: 0 };
    const forge = (into: Uint8Array, record: number, field: keyof typeof forgedFields, value: number): string => {
      for (const slot of [directory[2 * record] * 512, directory[2 * record + 1] * 512]) {
        resealed(into, slot, recordLayout, (bytes) => {
          const view = new DataView(bytes.buffer, bytes.byteOffset);
          recordLayout.fields[field].write(view, value);
        });
      }
      return `${field} of owner ${record + 2} = ${value}`;
    };
    const judge = (forged: Uint8Array, context: string): void => {
      tally.images++;
      tally.repaired += Number(exerciseRepair(forged, context));
      tally.opened += Number(exercise(forged, context));
    };
    const fields = Object.entries(forgedFields) as [keyof typeof forgedFields, readonly number[]][];
    for (const [field, candidates] of fields) {
      for (let record = 0; record < records; record++) {
        for (const value of candidates) {
          if (random() < SKIPPED) continue;
          const forged = image.slice();
          judge(forged, forge(forged, record, field, value));
        }
      }
    }
    for (let k = 0; k < FORGED_PAIRS; k++) {
      const forged = image.slice();
      const labels = [0, 1].map(() => {
        const [field, candidates] = pick(random, fields);
        return forge(forged, below(random, records), field, pick(random, candidates));
      });
      judge(forged, labels.join(", "));
    }
    t.diagnostic(JSON.stringify(tally));
    assert.ok(tally.opened > 0 && tally.opened < tally.images, "both verdicts were met");
  });
}

test("guarantees of more pages than there are, alone or together, are refused, and ended by a repair", () => {
  const { image, directory } = closedReference();
  for (const quotas of [[2 ** 32], [2 ** 32 + 1], [2 ** 53 - 1], [pages - 1, 2], [1, pages]]) {
    const forged = image.slice();
    quotas.forEach((quotaMinPages, k) => {
      for (const slot of [directory[2 * k] * 512, directory[2 * k + 1] * 512]) {
        resealed(forged, slot, recordLayout, (bytes) => {
          recordLayout.fields.quotaMinPages.write(new DataView(bytes.buffer, bytes.byteOffset), quotaMinPages);
        });
      }
    });
    const label = `guarantees of ${quotas.join(" and ")}`;
    const { findings } = analyze(memoryOf(forged.slice()));
    assert.ok(
      findings.some(({ problem, owner }) => problem === "quota" && owner === 1 + quotas.length),
      label,
    );
    assert.equal(exercise(forged.slice(), label), false);
    assert.ok(exerciseRepair(forged, label));
  }
});

test("parents in a ring of any length are refused, and cut by a repair", () => {
  const { image, directory } = layers["closed"];
  for (const length of [2, 3, 4, 5]) {
    const forged = image.slice();
    for (let k = 0; k < length; k++) {
      for (const slot of [directory[2 * k] * 512, directory[2 * k + 1] * 512]) {
        resealed(forged, slot, recordLayout, (bytes) => setWord(bytes, 16, 2 + ((k + 1) % length)));
      }
    }
    assert.equal(exercise(forged.slice(), `a ring of ${length}`), false);
    assert.ok(exerciseRepair(forged, `a ring of ${length}`));
  }
});

test(`pages of masks that hold anything are refused or read, and repaired (PERDURE_SEED=${seed})`, () => {
  const random = seeded(seed);
  for (const [name, { image, masks }] of Object.entries(layers)) {
    for (const page of masks) {
      for (let k = 0; k < 60; k++) {
        const forged = image.slice();
        const content = forged.subarray(page * 512, (page + 1) * 512);
        for (let at = 0; at < 512; at++)
          if (k % 3 === 0 || at % 64 === k) content[at] = pick(random, [0, 0xff, 0x55, 0x0f, 1]);
        const context = `masks at page ${page}, ${name}, ${k}`;
        exercise(forged.slice(), context);
        assert.ok(exerciseRepair(forged, context), context);
      }
    }
  }
});

test("lives: every word", () => {
  for (const { image } of references) {
    for (const { label, change } of forgeries(lifeLayout.fields.crc.offset)) {
      const forged = image.slice();
      resealed(forged, lifeOffset(1), lifeLayout, change);
      assert.ok(exercise(forged, `life ${label}`), "a life is for people: it never keeps a region from opening");
    }
  }
});

test(`claims: any page claimed for any name, with a right check (PERDURE_SEED=${seed})`, (t) => {
  const random = seeded(seed);
  const images = [references[1].image, layers["left by a death"].image];
  const shape = shapeOf(images[0]);
  const indices = [0, 1, 2, 255, 256, 299, 300, 2 ** 20, 2 ** 31, 2 ** 32 - 1];
  let opened = 0;
  for (let k = 0; k < FORGED_CLAIMS; k++) {
    const forged = images[k % 2].slice();
    const labels: string[] = [];
    for (let count = 1 + below(random, 3); count > 0; count--) {
      const page = below(random, shape.pages);
      const [index, owner, kindNumber] = [pick(random, indices), below(random, 12), below(random, 16)];
      const claim = makeClaim(page, index, kindNumber, below(random, 4), owner);
      setWord(forged, shape.entryOffset(page), index);
      setWord(forged, shape.entryOffset(page) + 4, claim);
      labels.push(`page ${page}: kind ${kindNumber} owner ${owner} index ${index}`);
    }
    assert.ok(k % 4 > 1 || exerciseRepair(forged, labels.join(", ")));
    opened += Number(exercise(forged, labels.join(", ")));
  }
  t.diagnostic(`${FORGED_CLAIMS} images, ${opened} opened`);
  assert.ok(opened < FORGED_CLAIMS, "most are refused");
});

test("a directory page of a huge index is refused at once, whatever the page size", () => {
  for (const pageBytes of [512, 2 ** 21]) {
    const [image, page] = formattedWithFree(pageBytes);
    const shape = shapeOf(image);
    for (const index of [shape.pages - 1, 2 ** 20, 2 ** 32 - 1]) {
      setWord(image, shape.entryOffset(page), index);
      setWord(image, shape.entryOffset(page) + 4, makeClaim(page, index, kind.directory, 0, 1));
      exercise(image.slice(), `directory index ${index}, pages of ${pageBytes}`);
    }
  }
});

function formattedWithFree(pageBytes: number): [image: Uint8Array, page: number] {
  const image = formattedImage(16 + 8192 / pageBytes, { pageBytes });
  return [image, shapeOf(image).firstPage];
}
