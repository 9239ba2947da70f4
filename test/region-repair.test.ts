/**
 * Hazard: a repair that destroys what the damage had left: instances that were sound, pages whose owner nobody knows
 * any longer. Every bit, entries of noise, pages of zeroes and of older selves, and a repair that is cut off anywhere.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isPerdureError } from "../src/base/index.ts";
import { kind, kindOf, ownerOf } from "../src/region/claim.ts";
import { analyze, describeMend, PageRegion, type RepairReport, repairMemory } from "../src/region/index.ts";
import { below, killImages, PowerModel, type Random, seeded } from "../src/testing/index.ts";
import { flip, memoryOf, shapeOf } from "./support/images.ts";
import {
  closedLayers,
  closedReference,
  crashedLayers,
  crashedReference,
  type Reference,
} from "./support/references.ts";
import { describeInstances, describeRegion } from "./support/region.ts";
import { seed } from "./support/seed.ts";

/** Of the bits of each image this share is tried, from another one on in each; 1 tries all. */
const STRIDE = Number(process.env["PERDURE_REPAIR_STRIDE"] ?? 7);
const ROUNDS = 150;
const CUT_OFF = 6;

const references: Readonly<Record<string, Reference>> = {
  closed: closedReference(),
  "left by a death": crashedReference(),
  "with layers, closed": closedLayers(),
  "with layers, left by a death": crashedLayers(),
  "with layers and checksums": crashedLayers(true),
};

const opened = (image: Uint8Array): PageRegion => PageRegion.attach(memoryOf(image.slice()));

function randomBit(random: Random, { metadata, pageBytes }: Reference): number {
  return 8 * pageBytes * metadata[below(random, metadata.length)] + below(random, 8 * pageBytes);
}

function noise(random: Random, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; at++) bytes[at] = below(random, 256);
}

/** Repairs an image; whatever was wrong, a second run finds and stores nothing, and the region opens. */
function repair(image: Uint8Array, context: string): RepairReport {
  const report = repairMemory(memoryOf(image));
  const again = memoryOf(image);
  const second = repairMemory(again);
  assert.equal(second.findingCount, 0, context);
  assert.equal(again.recording.events.length, 0, `${context}: a second run stores something`);
  opened(image);
  return report;
}

/** As `repair`; where too little is left nothing may have been stored. @returns undefined then */
function tryRepair(image: Uint8Array, context: string): RepairReport | undefined {
  const before = image.slice();
  try {
    return repair(image, context);
  } catch (error) {
    if (!isPerdureError(error)) throw new Error(`${context}: ${(error as Error).stack}`, { cause: error });
    assert.deepEqual(image, before, `${context}: ${error.message}`);
    return undefined;
  }
}

function isSound(image: Uint8Array): boolean {
  try {
    return analyze(memoryOf(image)).findings.length === 0;
  } catch (error) {
    if (isPerdureError(error)) return false;
    throw error;
  }
}

function entryOf(image: Uint8Array, page: number): { index: number; claim: number } {
  const view = new DataView(image.buffer, shapeOf(image).entryOffset(page));
  return { index: view.getUint32(0, true), claim: view.getUint32(4, true) };
}

/** Pages that hold content of somebody, after an open. */
function heldPages(image: Uint8Array): number[] {
  const now = image.slice();
  PageRegion.attach(memoryOf(now));
  const { pages } = shapeOf(now);
  const kinds: readonly number[] = [kind.data, kind.run, kind.bad];
  return Array.from({ length: pages }, (_, page) => page).filter((page) =>
    kinds.includes(kindOf(entryOf(now, page).claim)),
  );
}

/** Nothing is given out that could be somebody's data. */
function assertAllHeld(before: Uint8Array, after: Uint8Array, context: string): void {
  const held = new Set(heldPages(after));
  const { pageBytes } = shapeOf(before);
  for (const page of heldPages(before)) {
    const isZero = before.subarray(page * pageBytes, (page + 1) * pageBytes).every((byte) => byte === 0);
    assert.ok(held.has(page) || isZero, `${context}: page ${page} was given out`);
  }
}

for (const [first, [name, reference]] of Object.entries(references).entries()) {
  describe(`a region, ${name}`, () => {
    const { image, metadata, pageBytes, masks, table } = reference;
    const before = describeRegion(opened(image));
    const at = (of: Uint8Array, page: number): Uint8Array => of.subarray(page * pageBytes, (page + 1) * pageBytes);

    test("without damage nothing is stored", () => {
      const memory = memoryOf(image.slice());
      const { findingCount, mends } = repairMemory(memory);
      assert.deepEqual([findingCount, mends, memory.recording.events], [0, [], []]);
    });

    test("single bits of its metadata: nothing is lost", (t) => {
      let repaired = 0;
      for (const page of metadata) {
        const isMasks = masks.includes(page);
        const stride = isMasks ? 13 * STRIDE : STRIDE;
        for (let bit = 8 * page * pageBytes + (first % stride); bit < 8 * (page + 1) * pageBytes; bit += stride) {
          const damaged = image.slice();
          flip(damaged, bit);
          // A wrong magic is the one thing that an analysis does not look at.
          if (bit >= 96 && isSound(damaged)) continue;
          repaired++;
          const { mends, lossCount } = repair(damaged, `bit ${bit}`);
          const told = `bit ${bit}: ${mends.map(describeMend).join("; ")}`;
          // Which of two bits is right nobody knows after a death.
          if (isMasks && lossCount > 0) continue;
          assert.equal(describeRegion(opened(damaged)), before, told);
          assert.equal(lossCount, 0, told);
        }
      }
      t.diagnostic(`${repaired} images repaired`);
    });

    test(`pairs of bits (PERDURE_SEED=${seed})`, () => {
      const random = seeded(seed);
      for (let k = 0; k < ROUNDS; k++) {
        const bits = [randomBit(random, reference), randomBit(random, reference)];
        const damaged = image.slice();
        for (const bit of bits) flip(damaged, bit);
        if (tryRepair(damaged, `bits ${bits.join(", ")}`) !== undefined)
          assertAllHeld(image, damaged, `bits ${bits.join(", ")}`);
      }
    });

    test(`entries of noise hurt only those whose pages they were (PERDURE_SEED=${seed})`, () => {
      const random = seeded(seed);
      const shape = shapeOf(image);
      const { instances } = analyze(memoryOf(image));
      const standsOn = (owner: number, layers: ReadonlySet<number>): boolean => {
        for (let layer = instances.get(owner); layer !== undefined; layer = instances.get(layer.record.parent))
          if (layers.has(layer.owner)) return true;
        return false;
      };
      for (let k = 0; k < ROUNDS; k++) {
        const damaged = image.slice();
        const pages = Array.from({ length: 1 + below(random, 5) }, () => below(random, shape.pages));
        for (const page of pages) noise(random, damaged.subarray(shape.entryOffset(page), shape.entryOffset(page + 1)));
        const context = `entries of pages ${pages.join(", ")}`;
        const { mends } = repair(damaged, context);
        assertAllHeld(image, damaged, context);
        const owners = pages.map((page) => ownerOf(entryOf(image, page).claim));
        // What a save had taken was to be given back.
        const hit = new Set(owners.flatMap((owner) => [owner, instances.get(owner)?.record.source ?? 0]));
        const live = Array.from(instances.values()).filter(({ owner }) => !standsOn(owner, hit));
        const after = describeInstances(opened(damaged));
        for (const line of before.split("\n")) {
          if (!live.some(({ record }) => line.startsWith(`crash ${record.name} `))) continue;
          assert.ok(after.includes(line), `${context}: ${line}\n${mends.map(describeMend).join("\n")}`);
        }
      }
    });

    test(`pages of metadata that hold zeroes, ones, noise or each other (PERDURE_SEED=${seed})`, (t) => {
      const random = seeded(seed);
      let [tried, hopeless] = [0, 0];
      const judge = (context: string, damage: (of: Uint8Array) => void): void => {
        const damaged = image.slice();
        damage(damaged);
        tried++;
        if (tryRepair(damaged, context) === undefined) hopeless++;
        else assertAllHeld(image, damaged, context);
      };
      for (const page of metadata) {
        judge(`page ${page} zeroed`, (of) => at(of, page).fill(0));
        judge(`page ${page} of ones`, (of) => at(of, page).fill(0xff));
        judge(`page ${page} of noise`, (of) => noise(random, at(of, page)));
        const other = metadata[below(random, metadata.length)];
        judge(`pages ${page} and ${other} swapped`, (of) => {
          const kept = at(of, page).slice();
          at(of, page).set(at(of, other));
          at(of, other).set(kept);
        });
      }
      t.diagnostic(`${tried} images, of which ${hopeless} were left as they were`);
      assert.ok(hopeless < tried / 4, "most can be repaired");
    });

    test("pages that are older selves", () => {
      for (const page of metadata) {
        const damaged = image.slice();
        at(damaged, page).set(at(reference.older, page));
        tryRepair(damaged, `page ${page} as it was before`);
      }
      const damaged = image.slice();
      for (const page of table) at(damaged, page).set(at(reference.older, page));
      tryRepair(damaged, "the table as it was before");
    });

    test("cut off anywhere, nothing is stored and nothing lost that is there", () => {
      for (const end of [4096, 4096 + 512, image.length / 2, image.length - 512, image.length - 1]) {
        for (const length of [end - 1, end, end + 1]) {
          if (length >= image.length) continue;
          assert.equal(tryRepair(image.slice(0, length), `${length} bytes`), undefined);
        }
      }
    });

    test(`a repair that is killed or loses power anywhere is finished by the next (PERDURE_SEED=${seed})`, (t) => {
      const random = seeded(seed + first);
      let images = 0;
      for (let k = 0; k < CUT_OFF; k++) {
        const damaged = image.slice();
        // A page of the directory, and some entries.
        const page = k % 2 === 0 ? reference.directory[below(random, reference.directory.length)] : 0;
        at(damaged, page).fill(0);
        const shape = shapeOf(image);
        for (let count = 0; count < 3; count++) {
          const entry = shape.entryOffset(below(random, shape.pages));
          noise(random, damaged.subarray(entry, entry + 8));
        }
        images += judgeCutOffs(damaged, image, random);
      }
      t.diagnostic(`${images} images`);
    });
  });
}

/** Repairs what a repair leaves that ends anywhere. @returns how many images that were */
function judgeCutOffs(damaged: Uint8Array, before: Uint8Array, random: Random): number {
  const whole = memoryOf(damaged.slice());
  repairMemory(whole);
  const { events, image: repaired } = whole.recording;
  const done = describeRegion(opened(repaired));
  const seen = new Set<string>();
  const judge = (found: Uint8Array, label: string): void => {
    const key = Buffer.from(found).toString("latin1");
    if (seen.has(key)) return;
    seen.add(key);
    // Nobody opens it half-way.
    if (isSound(found) && isHeaded(found)) assert.equal(describeRegion(opened(found)), done, label);
    const again = found.slice();
    repair(again, label);
    assertAllHeld(before, again, label);
  };
  for (const crash of killImages(damaged, events, random)) judge(crash.bytes(), crash.label);
  // At most so many combinations a fence: each state is repaired, which takes its time.
  const power = new PowerModel(damaged, random, 8);
  for (const event of events) {
    let count = 0;
    for (const crash of power.during(event)) if (count++ < 8) judge(crash.bytes(), crash.label);
    power.add(event);
  }
  return seen.size;
}

function isHeaded(image: Uint8Array): boolean {
  return new DataView(image.buffer).getUint32(0, true) === 0x50455253;
}
