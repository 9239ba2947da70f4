import type { Steps } from "../base/index.ts";
import type { Memory } from "../memory/index.ts";

/** How much of the start and of the end of a memory is looked at before it is called blank. */
const HEAD_BYTES = 2 ** 20;
const TAIL_BYTES = 64 * 2 ** 10;

interface Signature {
  readonly name: string;
  readonly offset: number;
  readonly magic: readonly number[];
}

const ascii = (text: string): number[] => Array.from(text, (letter) => letter.charCodeAt(0));

/** What is most often found where it should not be overwritten. Offsets from the specification of each. */
const SIGNATURES: readonly Signature[] = [
  { name: "a GPT partition table", offset: 512, magic: ascii("EFI PART") },
  { name: "a GPT partition table (4096-byte sectors)", offset: 4096, magic: ascii("EFI PART") },
  { name: "an ext2/3/4 file system", offset: 1080, magic: [0x53, 0xef] },
  { name: "an XFS file system", offset: 0, magic: ascii("XFSB") },
  { name: "a Btrfs file system", offset: 0x10040, magic: ascii("_BHRfS_M") },
  { name: "an F2FS file system", offset: 1024, magic: [0x10, 0x20, 0xf5, 0xf2] },
  { name: "a SquashFS image", offset: 0, magic: ascii("hsqs") },
  { name: "an ISO 9660 image", offset: 0x8001, magic: ascii("CD001") },
  { name: "an NTFS file system", offset: 3, magic: ascii("NTFS    ") },
  { name: "a LUKS volume", offset: 0, magic: [...ascii("LUKS"), 0xba, 0xbe] },
  { name: "an LVM physical volume", offset: 512, magic: ascii("LABELONE") },
  { name: "swap space", offset: 4086, magic: ascii("SWAPSPACE2") },
  { name: "a qcow2 image", offset: 0, magic: [...ascii("QFI"), 0xfb] },
  { name: "a SQLite database", offset: 0, magic: ascii("SQLite format 3") },
  { name: "an ELF program", offset: 0, magic: [0x7f, ...ascii("ELF")] },
  { name: "gzip data", offset: 0, magic: [0x1f, 0x8b] },
  { name: "zstd data", offset: 0, magic: [0x28, 0xb5, 0x2f, 0xfd] },
  { name: "xz data", offset: 0, magic: [0xfd, ...ascii("7zXZ")] },
  { name: "a ZIP archive", offset: 0, magic: ascii("PK\u0003\u0004") },
  { name: "a PDF document", offset: 0, magic: ascii("%PDF-") },
  { name: "a PNG picture", offset: 0, magic: [0x89, ...ascii("PNG")] },
  { name: "a tar archive", offset: 257, magic: ascii("ustar") },
  { name: "an MBR boot sector", offset: 510, magic: [0x55, 0xaa] },
];

/**
 * Looks at both ends of a memory.
 *
 * @returns undefined when they are blank (zeroes), else what the data look like, for a message
 */
export function describeForeignData(memory: Memory): string | undefined {
  const { lengthBytes } = memory.ranges[0];
  const head = memory.read(0, Math.min(lengthBytes, HEAD_BYTES));
  const tailBytes = Math.min(lengthBytes, TAIL_BYTES);
  const tail = memory.read(lengthBytes - tailBytes, tailBytes);
  const found = SIGNATURES.find(({ offset, magic }) => magic.every((byte, k) => head[offset + k] === byte));
  if (found !== undefined) return found.name;
  if (looksLikeText(head)) return "text";
  if (!isZero(head)) return "data of an unknown kind";
  return isZero(tail) ? undefined : "data at the end (a backup GPT, perhaps)";
}

/** What is read at a time while a whole memory is looked through. */
const STEP_BYTES = 2 ** 20;

/** True when every byte is zero: a memory is formatted over nothing else without force. */
export function* isAllZero(memory: Memory): Steps<boolean> {
  const { lengthBytes } = memory.ranges[0];
  const step = new Uint8Array(STEP_BYTES);
  const zeroes = new Uint8Array(STEP_BYTES);
  for (let offset = 0; offset < lengthBytes; offset += STEP_BYTES) {
    const part = step.subarray(0, Math.min(STEP_BYTES, lengthBytes - offset));
    memory.readInto(offset, part);
    if (Buffer.compare(part, zeroes.subarray(0, part.length)) !== 0) return false;
    yield { what: "looking for data", doneBytes: offset + part.length, totalBytes: lengthBytes };
  }
  return true;
}

function isZero(bytes: Uint8Array): boolean {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2);
  return words.every((word) => word === 0) && bytes.subarray(4 * words.length).every((byte) => byte === 0);
}

function looksLikeText(head: Uint8Array): boolean {
  const start = head.subarray(0, 64);
  return start.every((byte) => (byte >= 0x20 && byte < 0x7f) || (byte >= 9 && byte <= 13) || byte >= 0x80);
}
