/**
 * Hazard: an image that somebody made on purpose, with every checksum right. It may be refused, or open to something
 * else; but nothing that it says may hang the program, throw what is no error of ours, or make a later operation do so.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { isPerdureError } from "../src/base/index.ts";
import { kind, makeClaim } from "../src/region/claim.ts";
import { PageRegion } from "../src/region/index.ts";
import {
  geometryLayout,
  lifeLayout,
  maxOwner,
  recordLayout,
  stateLayout,
  superblockOffsets,
} from "../src/region/layout.ts";
import { below, pick, Recording, RecordingMemory, seeded } from "../src/testing/index.ts";
import { lifeOffset, resealed, resealedGeometry, shapeOf } from "./support/images.ts";
import { closedReference, crashedReference, type Reference } from "./support/references.ts";
import { formattedImage } from "./support/region.ts";

const seed = Number(process.env["PERDURE_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
const PATIENCE_MS = 2000;
const FORGED_CLAIMS = 4000;

/** Opens an image and does with it what programs do. Every refusal must be one of ours. @returns whether it opened */
function exercise(image: Uint8Array, context: string): boolean {
  const began = performance.now();
  let opened = false;
  try {
    const region = PageRegion.attach(new RecordingMemory(new Recording(image)));
    opened = true;
    for (const { subsystem, name } of region.list()) {
      const instance = region.instance(subsystem, name);
      for (const index of instance.indices()) instance.read(index);
      instance.setAttributes(Uint8Array.of(1));
      attempt(() => instance.write(0, Uint8Array.of(1)), context);
      attempt(() => instance.resize(512), context);
      attempt(() => instance.delete(), context);
    }
    for (const life of region.info().lives) assert.ok(!Number.isNaN(life.opened.getTime()));
    assert.ok(!Number.isNaN(region.info().created.getTime()));
    attempt(() => region.instance("crash", "fresh", { create: true }).write(7, Uint8Array.of(7)), context);
    region[Symbol.dispose]();
    PageRegion.attach(new RecordingMemory(new Recording(image)));
  } catch (error) {
    if (!isPerdureError(error)) throw new Error(`${context}: ${(error as Error).stack}`, { cause: error });
  }
  assert.ok(performance.now() - began < PATIENCE_MS, `${context}: took ${performance.now() - began} ms`);
  return opened;
}

function attempt(act: () => void, context: string): void {
  try {
    act();
  } catch (error) {
    if (!isPerdureError(error)) throw new Error(`${context}: ${(error as Error).stack}`, { cause: error });
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
  const reference = references[1];
  const shape = shapeOf(reference.image);
  const indices = [0, 1, 2, 255, 256, 299, 300, 2 ** 20, 2 ** 31, 2 ** 32 - 1];
  const owners = [0, 1, 2, 3, 4, 5, 6, maxOwner];
  let opened = 0;
  for (let k = 0; k < FORGED_CLAIMS; k++) {
    const forged = reference.image.slice();
    const labels: string[] = [];
    for (let count = 1 + below(random, 3); count > 0; count--) {
      const page = below(random, shape.pages);
      const [index, owner, kindNumber] = [pick(random, indices), pick(random, owners), below(random, 16)];
      const claim = makeClaim(page, index, kindNumber, below(random, 4), owner);
      setWord(forged, shape.entryOffset(page), index);
      setWord(forged, shape.entryOffset(page) + 4, claim);
      labels.push(`page ${page}: kind ${kindNumber} owner ${owner} index ${index}`);
    }
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
