/**
 * Hazard: damaged metadata that are taken for sound: other data than were stored, without a word. Every single bit,
 * pairs of bits, whole pages and truncations: an image opens to what was there, or is refused by name.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type ErrorCode, isPerdureError } from "../src/base/index.ts";
import { analyze, PageRegion } from "../src/region/index.ts";
import { below, type Random, seeded } from "../src/testing/index.ts";
import { checkImage } from "./crash/checker.ts";
import { filled } from "./crash/operations.ts";
import { flip, memoryOf, shapeOf, stateOf } from "./support/images.ts";
import {
  closedLayers,
  closedReference,
  crashedLayers,
  crashedReference,
  type Reference,
} from "./support/references.ts";
import { describeRegion, freshRegion, openCopy, refusal } from "./support/region.ts";
import { seed } from "./support/seed.ts";

const PAIRS = 5000;
/** Images with layers have twice the metadata, of which each fifth bit is tried; 1 tries all. */
const LAYERS_STRIDE = Number(process.env["PERDURE_STRIDE"] ?? 5);
/** Opening is bounded by the number of pages: a small region that takes this long hangs. */
const PATIENCE_MS = 2000;
const REFUSALS: readonly ErrorCode[] = [
  "CORRUPT",
  "UNSUPPORTED_VERSION",
  "FOREIGN_DATA",
  "UNFORMATTED",
  "UNKNOWN_FORMAT",
];

/** How an open region is described: through its API, or by the independent checker. */
type Describe = (region: PageRegion, image: Uint8Array) => string;
const byChecker: Describe = (_region, image) => checkImage(image).text;

/** Opens an image. @returns what is in it, or the code of the refusal */
function verdict(image: Uint8Array, context: string, describeOpened: Describe): string {
  const began = performance.now();
  try {
    return describeOpened(PageRegion.attach(memoryOf(image)), image);
  } catch (error) {
    if (isPerdureError(error) && REFUSALS.includes(error.code)) return error.code;
    throw new Error(`${context}: ${(error as Error).stack}`, { cause: error });
  } finally {
    assert.ok(performance.now() - began < PATIENCE_MS, `${context}: took too long`);
  }
}

/** Counts verdicts, and fails at the first image that opens to something else. */
class Judge {
  readonly tally: Record<string, number> = {};
  readonly #reference: Reference;
  readonly #text: string;
  readonly #scratch: Uint8Array;
  readonly #describe: Describe;

  constructor(reference: Reference, describeOpened: Describe) {
    this.#reference = reference;
    this.#describe = describeOpened;
    this.#scratch = reference.image.slice();
    this.#text = verdict(this.#scratch, "the reference itself", describeOpened);
    assert.ok(!REFUSALS.includes(this.#text as ErrorCode), this.#text);
  }

  judge(damage: (image: Uint8Array) => void, context: string): string {
    this.#scratch.set(this.#reference.image);
    damage(this.#scratch);
    const found = verdict(this.#scratch, context, this.#describe);
    if (found === this.#text) return this.#count("same");
    assert.ok(REFUSALS.includes(found as ErrorCode), `${context}: opens to other data:\n${found}\nnot\n${this.#text}`);
    return this.#count(found);
  }

  #count(verdictName: string): string {
    this.tally[verdictName] = (this.tally[verdictName] ?? 0) + 1;
    return verdictName;
  }
}

function randomBit(random: Random, { metadata, pageBytes }: Reference): number {
  return 8 * pageBytes * metadata[below(random, metadata.length)] + below(random, 8 * pageBytes);
}

for (const [name, make, stride] of [
  ["closed", closedReference, 1],
  ["left by a death", crashedReference, 1],
  ["made of layers and closed", closedLayers, LAYERS_STRIDE],
  ["made of layers and left by a death", crashedLayers, LAYERS_STRIDE],
] as const) {
  describe(`a region that was ${name}`, () => {
    const reference = make();
    const { pageBytes, metadata, masks } = reference;
    const isClosed = stateOf(reference.image).state === 2;
    // After a death nothing tells one page of masks from another: a mask has a twin, and no checksum.
    const known = { ...reference, metadata: metadata.filter((page) => isClosed || !masks.includes(page)) };

    test(`single bits of its metadata, each ${stride === 1 ? "one" : `${stride}th`}`, (t) => {
      const judge = new Judge(reference, byChecker);
      for (const page of metadata) {
        for (let bit = 8 * page * pageBytes; bit < 8 * (page + 1) * pageBytes; bit += stride) {
          judge.judge((image) => flip(image, bit), `bit ${bit}`);
        }
      }
      t.diagnostic(JSON.stringify(judge.tally));
      assert.ok(judge.tally["same"] > 0 && judge.tally["CORRUPT"] > 0, "both verdicts were met");
    });

    test(`pairs of bits (PERDURE_SEED=${seed})`, (t) => {
      const random = seeded(seed);
      const judge = new Judge(reference, byChecker);
      for (let k = 0; k < PAIRS; k++) {
        const [a, b] = [randomBit(random, known), randomBit(random, known)];
        judge.judge((image) => {
          flip(image, a);
          flip(image, b);
        }, `bits ${a} and ${b}`);
      }
      t.diagnostic(JSON.stringify(judge.tally));
    });

    test(`pages of metadata that hold zeroes, ones, noise or each other (PERDURE_SEED=${seed})`, (t) => {
      const random = seeded(seed);
      // Above the mark anything that is no legal claim is harmless; the checker is stricter there.
      const judge = new Judge(reference, describeRegion);
      const at = (image: Uint8Array, page: number): Uint8Array =>
        image.subarray(page * pageBytes, (page + 1) * pageBytes);
      for (const page of known.metadata) {
        judge.judge((image) => at(image, page).fill(0), `page ${page} zeroed`);
        judge.judge((image) => at(image, page).fill(0xff), `page ${page} of ones`);
        judge.judge((image) => {
          for (let k = 0; k < pageBytes; k++) at(image, page)[k] = below(random, 256);
        }, `page ${page} of noise`);
        for (const other of known.metadata.filter((one) => one > page)) {
          judge.judge((image) => {
            const kept = at(image, page).slice();
            at(image, page).set(at(image, other));
            at(image, other).set(kept);
          }, `pages ${page} and ${other} swapped`);
        }
      }
      t.diagnostic(JSON.stringify(judge.tally));
    });

    test("a slot of any dual record that is an older self of it", () => {
      const judge = new Judge(reference, byChecker);
      for (const page of [1, 2, ...reference.directory]) {
        const older = reference.older.subarray(page * pageBytes, (page + 1) * pageBytes);
        judge.judge((image) => image.set(older, page * pageBytes), `page ${page} as it was before`);
      }
    });

    test("cut off anywhere", () => {
      for (let length = 4096; length < reference.image.length; length += 512) {
        const found = verdict(reference.image.slice(0, length), `${length} bytes`, byChecker);
        assert.equal(found, "CORRUPT", `${length} bytes`);
      }
    });

    test("analysis stores nothing, whatever it finds", () => {
      const random = seeded(seed);
      for (let k = 0; k < 500; k++) {
        const image = reference.image.slice();
        for (let flips = 0; flips < 1 + (k % 9); flips++) flip(image, randomBit(random, reference));
        const before = image.slice();
        const memory = memoryOf(image);
        try {
          analyze(memory);
        } catch (error) {
          assert.ok(isPerdureError(error), (error as Error).stack);
        }
        assert.equal(memory.recording.events.length, 0);
        assert.deepEqual(image, before);
      }
    });
  });
}

test("after a close a freed page that an older self of the table brings back is detected", () => {
  const { region, recording } = freshRegion(128, { chunkPages: 128 });
  const instance = region.instance("crash", "a", { create: true });
  for (const index of [0, 1]) instance.write(index, filled(index));
  const shape = shapeOf(recording.image);
  const older = recording.image.slice(shape.tableOffset, shape.checksumsOffset);
  instance.free(0);
  const afterDeath = recording.image.slice();
  region[Symbol.dispose]();
  const afterClose = recording.image.slice();
  for (const image of [afterDeath, afterClose]) image.set(older, shape.tableOffset);
  // Every check is right and every claim makes sense, so only what the close has written tells.
  assert.equal(openCopy(afterDeath).region.instance("crash", "a").has(0), true);
  assert.throws(() => openCopy(afterClose), { ...refusal("CORRUPT"), message: /checksums of page 0/ });
});

test("after a close an older self of any part of the frame table is detected", () => {
  const { image, older, table, pageBytes } = closedReference();
  let differ = 0;
  for (const page of table) {
    const damaged = image.slice();
    damaged.set(older.subarray(page * pageBytes, (page + 1) * pageBytes), page * pageBytes);
    if (Buffer.compare(damaged, image) === 0) continue;
    differ++;
    assert.throws(() => PageRegion.attach(memoryOf(damaged)), refusal("CORRUPT"));
  }
  assert.ok(differ > 0);
});
