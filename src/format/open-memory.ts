import { Backing, type BackingOptions, MappedMemory } from "../memory/index.ts";
import { type Format, formatMemory } from "./registry.ts";

/** How a memory is opened. */
export interface MemoryOptions extends BackingOptions {
  /** Write back with msync at every fence, so that on ext4 or xfs it outlives a power cut. Slow. */
  readonly durable?: boolean;
}

/**
 * Opens a file, a device or an inherited descriptor (`fd:N`) as a memory, for `attachMemory` and `formatMemory`. Who
 * opens it closes it. One process at a time has it open for writing.
 *
 * @throws ENOENT, EACCES, ENODEV, ENOSPC (holes that cannot be filled), LOCKED
 */
export function openMemory(source: string, options: MemoryOptions = {}): MappedMemory {
  return new MappedMemory([Backing.open(source, options)], { durable: options.durable ?? false });
}

/**
 * Makes a file, formats it, and only then gives it its name: whatever happens before leaves nothing behind.
 *
 * @throws EEXIST, EINVAL, ENOSPC, ENOENT (no such folder), EACCES, ENODEV, and what the format throws
 */
export function createMemory(
  path: string,
  sizeBytes: number,
  format: Format,
  options: { durable?: boolean } = {},
): MappedMemory {
  const backing = Backing.create(path, sizeBytes);
  const memory = new MappedMemory([backing], { durable: options.durable ?? false });
  try {
    formatMemory(memory, format);
    backing.publish();
    return memory;
  } catch (error) {
    memory.close();
    throw error;
  }
}
