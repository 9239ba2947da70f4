/** Superblocks and the registry of formats: probe, format, cleanup. */
export {
  type Attached,
  attachMemory,
  type Format,
  formatMemory,
  isBlank,
  listFormats,
  registerFormat,
  unregisterFormat,
} from "./registry.ts";
export { formatTypeOf, superblockBytes, superblockHead } from "./superblock.ts";
