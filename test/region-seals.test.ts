/**
 * Hazard: content that changed by itself is served as if it were right; or a kill leaves a seal that does not belong to
 * its page, and sound content is refused.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32 } from "node:zlib";
import { DamagedPageError, type Instance, type PageRegion } from "../src/region/index.ts";
import { type CrashImage, killImages, PowerModel, Recording, RecordingMemory, seeded } from "../src/testing/index.ts";
import { checkImage } from "./crash/checker.ts";
import { forgeGeometry, geometryOf } from "./support/images.ts";
import {
  afterClose,
  afterDeath,
  formattedImage,
  freshRegion,
  openCopy,
  refusal,
  type Trial,
} from "./support/region.ts";
import { seed } from "./support/seed.ts";

const pageBytes = 512;
const page = (value: number): Uint8Array => Uint8Array.from({ length: pageBytes }, (_, k) => value * 31 + k * 7);

/** A region with checksums and an instance that has pages 0 to 3. */
function sealedRegion(): Trial & { readonly instance: Instance } {
  const trial = freshRegion(128, { checksums: true, chunkPages: 32 });
  const instance = trial.region.instance("test", "a", { create: true });
  for (let index = 0; index < 4; index++) instance.write(index, page(index));
  return { ...trial, instance };
}

/** Where a page stands in the image, and where its seal does: as the format document says. */
function placesOf(image: Uint8Array, number: number): { content: number; seal: number } {
  const { pages } = geometryOf(image);
  return { content: number * pageBytes, seal: 4096 + 8 * pages + 4 * Math.ceil((8 * pages) / 4096) + 4 * number };
}

function numberOf(instance: Instance, index: number): number {
  const held = instance.get(index);
  const { number } = held;
  held[Symbol.dispose]();
  return number;
}

function flip(image: Uint8Array, offset: number, bit: number): void {
  image[offset + (bit >>> 3)] ^= 1 << (bit & 7);
}

/** A page of an instance as the format document alone tells it. */
interface Found {
  /** Owner and index. */
  readonly name: string;
  readonly number: number;
  readonly sum: number;
  readonly seal: number;
}

function* pagesOf(image: Uint8Array): Generator<Found> {
  const view = new DataView(image.buffer, image.byteOffset);
  const mark = view.getUint32(512 + 56, true);
  for (let number = 0; number < mark; number++) {
    const claim = view.getUint32(4096 + 8 * number + 4, true);
    // DATA, RUN, VOLATILE.
    if (![4, 6, 8].includes(claim >>> 28)) continue;
    const places = placesOf(image, number);
    const sum = crc32(image.subarray(places.content, places.content + pageBytes)) || 1;
    const name = `${claim & 0x7ffff} ${view.getUint32(4096 + 8 * number, true)}`;
    yield { name, number, sum, seal: view.getUint32(places.seal, true) };
  }
}

/** Every seal of a page of an instance belongs to its content. @returns the pages that are sealed */
function checkSeals(image: Uint8Array, label: string): Found[] {
  const sealed = [...pagesOf(image)].filter(({ seal }) => seal !== 0);
  for (const { number, sum, seal } of sealed) assert.equal(seal, sum, `${label}: the seal of page ${number}`);
  return sealed;
}

test("what was written is sealed and read back, after a close and after a death", () => {
  for (const end of [afterClose, afterDeath]) {
    const trial = sealedRegion();
    trial.instance.write(1, Uint8Array.of(9, 9), 100);
    const next = end(trial);
    const instance = next.region.instance("test", "a");
    const mixed = page(1);
    mixed.set([9, 9], 100);
    assert.deepEqual(
      [0, 1, 2].map((index) => instance.read(index)),
      [page(0), mixed, page(2)],
    );
    const part = new Uint8Array(3);
    instance.readInto(1, 99, part);
    assert.deepEqual(part, mixed.subarray(99, 102));
    assert.equal(checkSeals(next.recording.image, "at rest").length, 4);
    assert.equal(next.region.info().checksums, true);
  }
});

test("every single bit of a sealed page and of its seal that flips is refused by name, and spoils nothing else", () => {
  const { recording, instance, region } = sealedRegion();
  const number = numberOf(instance, 2);
  const { content, seal } = placesOf(recording.image, number);
  const bits = [...Array(8 * pageBytes).keys()].map((bit) => ({ offset: content, bit }));
  bits.push(...[...Array(32).keys()].map((bit) => ({ offset: seal, bit })));
  for (const { offset, bit } of bits) {
    flip(recording.image, offset, bit);
    const label = `bit ${bit} from byte ${offset}`;
    assert.throws(() => instance.read(2), { ...refusal("DATA_CORRUPT"), message: /index 2 of test "a"/ }, label);
    // The byte asked for may be right: the page as a whole is not.
    assert.throws(() => instance.readInto(2, 511, new Uint8Array(1)), refusal("DATA_CORRUPT"), label);
    assert.throws(() => instance.write(2, Uint8Array.of(1), 5), refusal("DATA_CORRUPT"), label);
    assert.throws(() => instance.get(2), refusal("DATA_CORRUPT"), label);
    assert.throws(() => instance.ensure(2), refusal("DATA_CORRUPT"), label);
    flip(recording.image, offset, bit);
  }
  assert.deepEqual(instance.read(2), page(2), "nothing was poisoned, nothing was changed");
  region[Symbol.dispose]();
});

test("every page size has room for its seals, also in the smallest region", () => {
  for (let bytes = 512; bytes <= 2 ** 21; bytes *= 2) {
    let pages = Math.ceil(4096 / bytes) + 8;
    while (!fits(pages, bytes)) pages++;
    const trial = freshRegion(pages, { pageBytes: bytes, checksums: true });
    const { freePages, metadataPages } = trial.region.info();
    assert.equal(freePages + metadataPages, pages, `${bytes}`);
    const instance = trial.region.instance("test", "a", { create: true });
    instance.write(0, new Uint8Array(bytes).fill(7));
    instance.write(0, Uint8Array.of(8), bytes - 1);
    const next = afterClose(trial);
    const found = next.region.instance("test", "a");
    const content = found.read(0);
    assert.deepEqual([content[0], content[bytes - 1]], [7, 8]);
    flip(next.recording.image, numberOf(found, 0) * bytes, 8 * bytes - 1);
    assert.throws(() => found.read(0), refusal("DATA_CORRUPT"));
  }
});

function fits(pages: number, bytes: number): boolean {
  try {
    formattedImage(pages, { pageBytes: bytes, checksums: true });
    return true;
  } catch {
    return false;
  }
}

test("the error says where", () => {
  const { recording, instance } = sealedRegion();
  const number = numberOf(instance, 3);
  flip(recording.image, placesOf(recording.image, number).content, 77);
  assert.throws(
    () => instance.read(3),
    (error) => {
      assert.ok(error instanceof DamagedPageError);
      const { owner: _, ...place } = error.place;
      assert.deepEqual(place, { subsystem: "test", name: "a", index: 3, page: number, offsetBytes: 3 * pageBytes });
      return true;
    },
  );
});

test("a refused part of a damaged page takes no memory; a whole page heals it, and so does freeing it", () => {
  const { recording, instance, region } = sealedRegion();
  const { freePages } = region.info();
  for (const index of [1, 2]) {
    flip(recording.image, placesOf(recording.image, numberOf(instance, index)).content, 9);
    for (let k = 0; k < 300; k++) assert.throws(() => instance.write(index, Uint8Array.of(1)), refusal("DATA_CORRUPT"));
  }
  assert.equal(region.info().freePages, freePages);
  instance.write(1, page(8));
  assert.deepEqual(instance.read(1), page(8));
  instance.free(2);
  instance.write(2, Uint8Array.of(5));
  assert.equal(instance.read(2)[0], 5);
});

test("damage is not hidden by handing the page over, nor by opening the region again", () => {
  const trial = sealedRegion();
  const { recording, instance, region } = trial;
  const other = region.instance("test", "b", { create: true });
  instance.handOver(0, other, 7);
  assert.deepEqual(other.read(7), page(0), "the seal followed");
  flip(recording.image, placesOf(recording.image, numberOf(instance, 1)).content, 1);
  instance.handOver(1, other, 8);
  assert.throws(() => other.read(8), { ...refusal("DATA_CORRUPT"), message: /index 8 of test "b"/ });
  const next = afterClose(trial).region;
  assert.throws(() => next.instance("test", "b").read(8), refusal("DATA_CORRUPT"));
});

test("a page is unsealed while it is held, and sealed again by the last who lets it go", () => {
  const trial = sealedRegion();
  const { recording, instance } = trial;
  const held = instance.get(2);
  const again = instance.ensure(2);
  const { seal } = placesOf(recording.image, held.number);
  const word = (): number => new DataView(recording.image.buffer).getUint32(seal, true);
  held.bytes.fill(3);
  assert.deepEqual(instance.read(2), new Uint8Array(pageBytes).fill(3), "content that is being changed is served");
  held[Symbol.dispose]();
  assert.equal(word(), 0);
  const killed = afterDeath(trial);
  assert.deepEqual(killed.region.instance("test", "a").read(2), new Uint8Array(pageBytes).fill(3));
  again[Symbol.dispose]();
  assert.equal(word(), crc32(new Uint8Array(pageBytes).fill(3)));
});

test("runs and volatile pages that are kept are sealed like others", () => {
  const { recording, instance, region } = sealedRegion();
  const run = instance.ensureRun(8, 1);
  run.bytes.fill(4);
  const volatile = instance.ensureVolatile(20);
  volatile.bytes.fill(6);
  const tail = instance.get(9);
  run[Symbol.dispose]();
  assert.equal(checkSeals(recording.image, "a part is held").length, 5);
  tail.bytes.fill(5);
  tail[Symbol.dispose]();
  volatile[Symbol.dispose]();
  instance.keep(20);
  assert.equal(checkSeals(recording.image, "at rest").length, 7);
  for (const index of [8, 9, 20]) {
    const { content } = placesOf(recording.image, numberOf(instance, index));
    flip(recording.image, content, 100);
    assert.throws(() => instance.read(index), refusal("DATA_CORRUPT"));
  }
  region[Symbol.dispose]();
});

test("content whose CRC is 0 is sealed with 1", () => {
  const { recording, instance } = sealedRegion();
  const forged = contentOfCrcZero();
  assert.equal(crc32(forged), 0);
  instance.write(0, forged);
  const { content, seal } = placesOf(recording.image, numberOf(instance, 0));
  assert.equal(new DataView(recording.image.buffer).getUint32(seal, true), 1);
  assert.deepEqual(instance.read(0), forged);
  flip(recording.image, content, 0);
  assert.throws(() => instance.read(0), refusal("DATA_CORRUPT"));
});

// The CRC is linear: each bit of the last word changes it in its own way, so some choice of them makes it 0.
function contentOfCrcZero(): Uint8Array {
  const content = page(5);
  const last = new DataView(content.buffer, pageBytes - 4);
  last.setUint32(0, 0);
  const base = crc32(content);
  const rows: { sum: number; bits: number }[] = [];
  for (let bit = 0; bit < 32; bit++) {
    last.setUint32(0, (1 << bit) >>> 0);
    rows.push({ sum: crc32(content) ^ base, bits: 1 << bit });
  }
  let [rest, chosen] = [base, 0];
  for (let bit = 0; bit < 32; bit++) {
    const at = rows.findIndex(({ sum }) => (sum >>> bit) & 1);
    const [pivot] = rows.splice(at, 1);
    for (const row of rows) {
      if ((row.sum >>> bit) & 1) Object.assign(row, { sum: row.sum ^ pivot.sum, bits: row.bits ^ pivot.bits });
    }
    if ((rest >>> bit) & 1) [rest, chosen] = [rest ^ pivot.sum, chosen ^ pivot.bits];
  }
  last.setUint32(0, chosen >>> 0);
  return content;
}

test("a program that does not know seals reads such a region, and may not write to it", () => {
  const trial = sealedRegion();
  trial.region[Symbol.dispose]();
  const { image } = trial.recording;
  // The bit of a feature that nobody knows, with metadata pages of its own: what an older program sees.
  forgeGeometry(image, { readOnlyCompatible: 2 });
  assert.throws(() => openCopy(image), refusal("UNSUPPORTED_VERSION"));
  class ReadOnly extends RecordingMemory {
    override readonly readOnly = true;
  }
  const region = (trial.region.constructor as typeof PageRegion).attach(new ReadOnly(new Recording(image.slice())));
  assert.deepEqual(region.instance("test", "a").read(2), page(2));
  assert.equal(region.info().checksums, false);
});

/** Everything that changes content or moves pages, each after what must have come before. */
const operations: readonly ((region: PageRegion, instance: Instance) => void)[] = [
  (_region, a) => a.write(9, page(40)),
  (_region, a) => a.write(0, page(41)),
  (_region, a) => a.write(0, page(42).subarray(0, 70), 60),
  (_region, a) => a.write(10, Uint8Array.of(1, 2, 3), 8),
  (_region, a) => hold(a, 0, 43),
  (_region, a) => hold(a, 11, 44),
  (_region, a) => a.free(1),
  (_region, a) => a.write(12, page(45)),
  (_region, a) => {
    using run = a.ensureRun(16, 2);
    run.bytes.fill(46);
    run.persist();
    run.bytes.fill(47, 700, 900);
  },
  (_region, a) => {
    using held = a.ensureVolatile(20);
    held.bytes.fill(48);
    held[Symbol.dispose]();
    a.keep(20);
  },
  (region, a) => {
    const save = region.instance("test", "save", { pending: true, source: { subsystem: "test", name: "a" } });
    a.handOver(0, save, 0);
    a.handOver(2, save, 2);
    save.publish();
  },
  (region, a) => region.instance("test", "save").handOver(2, a, 3),
  (_region, a) => a.freeRun(16),
  (_region, a) => {
    for (let index = 30; index < 60; index++) a.write(index, page(index));
  },
  (_region, a) => a.resize(20 * pageBytes),
  (region) => region.instance("test", "save").delete(),
  (_region, a) => a.write(13, page(49)),
];

function hold(instance: Instance, index: number, value: number): void {
  using held = instance.ensure(index);
  held.bytes.set(page(value));
  held.persist();
  held.bytes.set(page(value + 1).subarray(0, 90), 64);
}

const seal0 = crc32(new Uint8Array(pageBytes));

/** Opens crash images of one operation and judges what they hold. */
class Judge {
  images = 0;
  sealedPages = 0;
  /** Content that a sealed page may have, by its name: that of before, that of after, or zeroes. */
  readonly #allowed = new Map<string, Set<number>>();

  allow(image: Uint8Array): void {
    for (const { name, sum } of pagesOf(image)) {
      const sums = this.#allowed.get(name) ?? new Set([seal0]);
      this.#allowed.set(name, sums.add(sum));
    }
  }

  judge(crash: CrashImage, operation: number): void {
    const { label } = crash;
    const image = crash.bytes();
    const where = `operation ${operation}, ${label}`;
    this.images++;
    checkSeals(image, where);
    const { recording, region } = openCopy(image);
    checkImage(recording.image);
    for (const { subsystem, name } of region.list()) {
      const found = region.instance(subsystem, name);
      for (const index of found.indices()) found.read(index);
    }
    for (const { name, sum } of checkSeals(recording.image, `${where}, recovered`)) {
      assert.ok(this.#allowed.get(name)?.has(sum), `${where}: page ${name} is neither the old nor the new one`);
      this.sealedPages++;
    }
  }
}

test(`a kill or a power cut leaves the old page or the new one, with its seal (PERDURE_SEED=${seed})`, (t) => {
  const random = seeded(seed);
  const { recording, region, instance } = sealedRegion();
  const power = new PowerModel(recording.recorded, random, 64);
  const total = { seed, images: 0, sealedPages: 0 };
  operations.forEach((operation, at) => {
    const judge = new Judge();
    const start = recording.recorded.slice();
    recording.events = [];
    operation(region, instance);
    judge.allow(start);
    judge.allow(recording.image);
    for (const crash of killImages(start, recording.events, random)) judge.judge(crash, at);
    for (const event of recording.events) {
      for (const crash of power.during(event)) judge.judge(crash, at);
      power.add(event);
    }
    total.images += judge.images;
    total.sealedPages += judge.sealedPages;
  });
  t.diagnostic(JSON.stringify(total));
  assert.ok(total.images > 1000 && total.sealedPages > 3 * total.images, JSON.stringify(total));
});

test("a region without checksums has no table, and none of its pages is refused", () => {
  const image = formattedImage(128);
  assert.equal(geometryOf(image).readOnlyCompatible, 0);
  const { recording, region } = openCopy(image);
  const instance = region.instance("test", "a", { create: true });
  instance.write(0, page(1));
  flip(recording.image, placesOf(recording.image, numberOf(instance, 0)).content, 3);
  assert.equal(instance.read(0)[0], page(1)[0] ^ 8);
  assert.equal(region.info().checksums, false);
});
