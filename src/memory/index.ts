/** Backings, ranges and windows; `Memory`, the one gateway to persistent bytes. */
export { Backing, type BackingKind, type BackingOptions, isDevicePath } from "./backing.ts";
export { MappedMemory, type SharedMemory } from "./mapped-memory.ts";
export {
  fillAcrossWindows,
  type Memory,
  type MemoryRange,
  persist,
  type Space,
  type Survival,
  windowBytes,
} from "./memory.ts";
export { ownerIdentity, startTicks } from "./owner-identity.ts";
export { currentThread, type ThreadIdentity, threadLives } from "./thread-identity.ts";
