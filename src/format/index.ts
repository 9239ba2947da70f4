/** Superblocks and the registry of formats: probe, format, cleanup; and what the author of a format needs. */
export {
  bytes,
  crc32,
  type Decoded,
  type ErrorCode,
  type Field,
  isPerdureError,
  isSealed,
  Layout,
  PerdureError,
  seal,
  text,
  u32,
  u32Array,
  u64,
} from "../base/index.ts";
export {
  fillAcrossWindows,
  type Memory,
  type MemoryRange,
  persist,
  type Survival,
  windowBytes,
} from "../memory/index.ts";
export { createMemory, type MemoryOptions, openMemory } from "./open-memory.ts";
export {
  type Attached,
  attachMemory,
  type Facts,
  type Format,
  findFormat,
  formatMemory,
  isBlank,
  listFormats,
  registerFormat,
  unregisterFormat,
} from "./registry.ts";
export { formatTypeOf, superblockBytes, superblockHead } from "./superblock.ts";
