/** Floor 0: errors, sizes, checksums and layout declarations. Imports nothing. */
export { crc32 } from "./crc32.ts";
export { assert, ERRORS, type ErrorCode, isPerdureError, PerdureError } from "./errors.ts";
export { bytes, type Decoded, type Field, isSealed, Layout, seal, text, u32, u32Array, u64 } from "./layout.ts";
export { exactSize, formatSize, parseSize } from "./sizes.ts";
export { atOnce, inTurns, type LongOptions, type Progress, type Steps } from "./steps.ts";
