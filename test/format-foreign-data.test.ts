/** Hazard: a region is laid out over somebody else's data. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { describeForeignData } from "../src/format/foreign-data.ts";
import { attachMemory, formatMemory, isBlank } from "../src/format/index.ts";
import { nativeFormat } from "../src/region/index.ts";
import { RecordingMemory } from "../src/testing/index.ts";
import { refusal } from "./support/region.ts";

const SIZE = 2 * 2 ** 20;
const GREETING = "a letter to somebody, who would not like to see it overwritten, ever again";

/** What each kind of data has at which byte; written out here from its own documentation. */
const samples: Readonly<Record<string, readonly [number, string]>> = {
  "a GPT partition table": [512, "EFI PART"],
  "a GPT partition table (4096-byte sectors)": [4096, "EFI PART"],
  "an ext2/3/4 file system": [0x438, "\x53\xef"],
  "an XFS file system": [0, "XFSB"],
  "a Btrfs file system": [65_600, "_BHRfS_M"],
  "an F2FS file system": [1024, "\x10\x20\xf5\xf2"],
  "a SquashFS image": [0, "hsqs"],
  "an ISO 9660 image": [32_769, "CD001"],
  "an NTFS file system": [3, "NTFS    "],
  "a LUKS volume": [0, "LUKS\xba\xbe"],
  "an LVM physical volume": [512, "LABELONE"],
  "swap space": [4086, "SWAPSPACE2"],
  "a qcow2 image": [0, "QFI\xfb"],
  "a SQLite database": [0, "SQLite format 3\0"],
  "an ELF program": [0, "\x7fELF"],
  "gzip data": [0, "\x1f\x8b"],
  "zstd data": [0, "\x28\xb5\x2f\xfd"],
  "xz data": [0, "\xfd7zXZ\0"],
  "a ZIP archive": [0, "PK\x03\x04"],
  "a PDF document": [0, "%PDF-1.7"],
  "a PNG picture": [0, "\x89PNG\r\n"],
  "a tar archive": [257, "ustar"],
  "an MBR boot sector": [510, "\x55\xaa"],
  text: [0, GREETING],
  "data of an unknown kind": [700_000, "\x01"],
  "data at the end (a backup GPT, perhaps)": [SIZE - 512, "EFI PART"],
};

function holding(offset: number, text: string): RecordingMemory {
  const memory = RecordingMemory.blank(SIZE);
  memory.recording.image.set(Buffer.from(text, "latin1"), offset);
  return memory;
}

for (const [name, [offset, text]] of Object.entries(samples)) {
  test(`${name} is recognised, and neither opened nor formatted`, () => {
    const memory = holding(offset, text);
    assert.equal(describeForeignData(memory), name);
    assert.equal(isBlank(memory), false);
    const before = memory.recording.image.slice();
    assert.throws(() => attachMemory(memory), { ...refusal("FOREIGN_DATA"), message: `recorded memory holds ${name}` });
    assert.throws(() => formatMemory(memory, nativeFormat()), refusal("FOREIGN_DATA"));
    assert.deepEqual(memory.recording.image, before, "a refusal stores nothing");
    formatMemory(memory, nativeFormat(), { force: true });
    attachMemory(memory).detach();
  });
}

test("blank memory is blank, also a short one", () => {
  for (const size of [4096, 65_536, SIZE]) {
    const memory = RecordingMemory.blank(size);
    assert.equal(describeForeignData(memory), undefined);
    assert.ok(isBlank(memory));
    assert.throws(() => attachMemory(memory), refusal("UNFORMATTED"));
  }
});

test("a single byte in the middle of a large memory is enough to refuse it", () => {
  const memory = RecordingMemory.blank(4 * 2 ** 20);
  memory.recording.image[2 * 2 ** 20 + 5] = 1;
  assert.equal(isBlank(memory), false);
  assert.throws(() => formatMemory(memory, nativeFormat()), refusal("FOREIGN_DATA"));
  formatMemory(memory, nativeFormat(), { force: true });
});
