/** Hazard: a region whose measures are believed unchecked reads and writes where it has nothing to look for. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { formatMemory } from "../src/format/index.ts";
import { analyze, describeFinding, nativeFormat } from "../src/region/index.ts";
import { Recording, RecordingMemory } from "../src/testing/index.ts";
import { forgeGeometry, forgeState, geometryOf, shapeOf } from "./support/images.ts";
import { afterClose, formattedImage, freshRegion, openCopy, refusal } from "./support/region.ts";

const analyzeImage = (image: Uint8Array) => analyze(new RecordingMemory(new Recording(image.slice())));

test("a damaged superblock is read from its copy and reported", () => {
  for (const pageBytes of [512, 4096, 2 ** 16]) {
    const image = formattedImage(64, { pageBytes });
    image.fill(0xa5, 12, 128);
    const { geometry, findings } = analyzeImage(image);
    assert.equal(geometry.pages, 64);
    assert.deepEqual(findings.map(describeFinding), [
      "geometry: expected a right CRC, found damage; the copy was used",
    ]);
    assert.throws(() => openCopy(image), refusal("CORRUPT"));
  }
});

test("without superblock and copy nothing is opened", () => {
  const image = formattedImage(64);
  image.fill(0, 12, 128);
  image.fill(0, image.length - 512);
  assert.throws(() => analyzeImage(image), refusal("CORRUPT"));
});

test("a copy is found also where the region ends before its memory does", () => {
  const image = formattedImage(64, { pageBytes: 4096 });
  const longer = new Uint8Array(image.length + 1000);
  longer.set(image);
  longer.fill(0, 12, 128);
  assert.equal(analyzeImage(longer).geometry.pages, 64);
});

test("page sizes are powers of two from 512 to 2 MiB", () => {
  for (const pageBytes of [0, 1, 256, 511, 513, 1000, 1536, 2 ** 22, -512, 0.5, Number.NaN]) {
    const memory = RecordingMemory.blank(2 ** 16);
    assert.throws(() => formatMemory(memory, nativeFormat({ pageBytes })), refusal("EINVAL"), `${pageBytes}`);
  }
});

test("every page size makes a region that works", () => {
  for (let pageBytes = 512; pageBytes <= 2 ** 21; pageBytes *= 2) {
    const trial = freshRegion(Math.max(16, 65_536 / pageBytes), { pageBytes });
    const instance = trial.region.instance("test", "pages", { create: true });
    const content = new Uint8Array(pageBytes).fill(7);
    instance.write(3, content);
    using page = instance.ensure(4);
    assert.equal(page.bytes.length, pageBytes);
    page[Symbol.dispose]();
    const next = afterClose(trial).region;
    assert.deepEqual(next.instance("test", "pages").read(3), content);
    assert.equal(next.info().pageBytes, pageBytes);
  }
});

test("a memory that is too small for metadata and a few pages is refused, one page more is not", () => {
  for (const pageBytes of [512, 4096]) {
    let pages = 0;
    const format = (count: number): void => {
      formatMemory(RecordingMemory.blank(count * pageBytes), nativeFormat({ pageBytes }));
    };
    for (; pages < 100; pages++) {
      try {
        format(Math.max(pages, 4096 / pageBytes));
        break;
      } catch (error) {
        assert.equal((error as { code?: string }).code, "EINVAL");
      }
    }
    assert.ok(pages > 8 && pages < 40, `${pages} pages of ${pageBytes} bytes`);
    format(pages);
  }
});

test("bytes after the last whole page are left alone", () => {
  const memory = RecordingMemory.blank(64 * 512 + 300);
  formatMemory(memory, nativeFormat({ pageBytes: 512 }));
  assert.ok(memory.recording.image.subarray(64 * 512).every((byte) => byte === 0));
  assert.equal(openCopy(memory.recording.image).region.info().pages, 64);
});

test("another version and unknown features are refused by name", () => {
  const forge = (change: Parameters<typeof forgeGeometry>[1]): Uint8Array => {
    const image = formattedImage(64);
    forgeGeometry(image, change);
    return image;
  };
  assert.throws(() => openCopy(forge({ version: 7 })), { ...refusal("UNSUPPORTED_VERSION"), message: /version 7/ });
  assert.throws(() => openCopy(forge({ incompatible: 0x80000000 })), {
    ...refusal("UNSUPPORTED_VERSION"),
    message: /0x80000000/,
  });
  assert.throws(() => openCopy(forge({ readOnlyCompatible: 4 })), refusal("UNSUPPORTED_VERSION"));
  openCopy(forge({ compatible: 0xffffffff }));
  class ReadOnly extends RecordingMemory {
    override readonly readOnly = true;
  }
  analyze(new ReadOnly(new Recording(forge({ readOnlyCompatible: 4 }))));
});

test("measures that the memory does not have are corrupt, whatever their checksum says", () => {
  const { pages } = geometryOf(formattedImage(64));
  const forged = [
    ...[0, 1, 8, pages - 1, pages + 1, 2 ** 31, 2 ** 32 - 1].map((count) => ({ pages: count })),
    ...[0, 1, 256, 513, 1024, 2 ** 21, 2 ** 22, 2 ** 31].map((size) => ({ pageBytes: size })),
    { chunkPages: 0 },
    { createdMs: 2 ** 53 - 1 },
  ];
  for (const change of forged) {
    const image = formattedImage(64);
    forgeGeometry(image, change);
    assert.throws(() => openCopy(image), refusal("CORRUPT"), JSON.stringify(change));
  }
});

test("measures forged in geometry and state alike are corrupt where nothing fits into them", () => {
  for (const pages of [0, 1, shapeOf(formattedImage(64)).firstPage]) {
    const image = formattedImage(64);
    forgeGeometry(image, { pages });
    forgeState(image, { pages, marks: [pages] });
    assert.throws(() => openCopy(image), refusal("CORRUPT"), `${pages} pages`);
  }
});

test("metadata stand where the shape says, and each has its claim", () => {
  const image = formattedImage(2000);
  const shape = shapeOf(image);
  assert.equal(shape.tableOffset, 4096);
  assert.equal(shape.checksumsOffset, 4096 + 8 * 2000);
  assert.equal(shape.checksums, 4);
  assert.equal(shape.firstPage, Math.ceil((4096 + 16_000 + 16) / 512));
  assert.equal(shape.geometryCopyOffset, image.length - 512);
  assert.ok(shape.isMetadata(0) && shape.isMetadata(1999) && !shape.isMetadata(shape.firstPage));
  assert.deepEqual(analyzeImage(image).findings, []);
});
