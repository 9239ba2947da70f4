/** Superblocks and the registry of formats: probe, format, cleanup; and what the author of a format needs. */
export {
  atOnce,
  bytes,
  crc32,
  type Decoded,
  type ErrorCode,
  type Field,
  inTurns,
  isPerdureError,
  isSealed,
  Layout,
  type LongOptions,
  PerdureError,
  type Progress,
  type Steps,
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
export {
  type CreateOptions,
  createMemory,
  creatingMemory,
  type MemoryOptions,
  openingMemory,
  openMemory,
} from "./open-memory.ts";
export {
  type Attached,
  attaching,
  attachMemory,
  type Facts,
  type Format,
  findFormat,
  formatMemory,
  formatting,
  isBlank,
  isBlankInSteps,
  listFormats,
  registerFormat,
  unregisterFormat,
} from "./registry.ts";
export { formatTypeOf, superblockBytes, superblockHead } from "./superblock.ts";
