import { crc32 as zlibCrc32 } from "node:zlib";

/** CRC-32 as in zlib, gzip and PNG (reflected, polynomial 0xEDB88320); `seed` continues an earlier sum. */
export function crc32(bytes: Uint8Array, seed = 0): number {
  return zlibCrc32(bytes, seed);
}
