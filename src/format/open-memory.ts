import { atOnce, inTurns, type LongOptions, type Steps } from "../base/index.ts";
import { Backing, type BackingOptions, MappedMemory } from "../memory/index.ts";
import { type Format, formatting } from "./registry.ts";

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
  return atOnce(openingMemory(source, options));
}

/** `openMemory` in steps. */
export function* openingMemory(source: string, options: MemoryOptions = {}): Steps<MappedMemory> {
  const backing = Backing.open(source, { ...options, keepHoles: true });
  const memory = new MappedMemory([backing], { durable: options.durable ?? false });
  let done = false;
  try {
    if (options.keepHoles !== true) yield* memory.fillHoles();
    done = true;
    return memory;
  } finally {
    if (!done) memory.close();
  }
}

/** How a memory is made. */
export interface CreateOptions extends LongOptions {
  readonly durable?: boolean;
  /** Reserve nothing: the format allocates what it stores into. */
  readonly keepHoles?: boolean;
  /** What must have happened when the memory is there; may make room for its name. */
  readonly beforePublish?: () => void;
}

/**
 * Makes a file, formats it, and only then gives it its name: whatever happens before leaves nothing behind.
 *
 * @throws EEXIST, EINVAL, ENOSPC, ENOENT (no such folder), EACCES, ENODEV, ABORTED, and what the format throws
 */
export function createMemory(
  path: string,
  sizeBytes: number,
  format: Format,
  options: CreateOptions = {},
): Promise<MappedMemory> {
  return inTurns(creatingMemory(path, sizeBytes, format, options), options);
}

/** `createMemory` in steps. */
export function* creatingMemory(
  path: string,
  sizeBytes: number,
  format: Format,
  { durable = false, keepHoles = false, beforePublish }: CreateOptions = {},
): Steps<MappedMemory> {
  const backing = yield* Backing.creating(path, sizeBytes, { keepHoles });
  const memory = new MappedMemory([backing], { durable });
  let done = false;
  try {
    // What was just made holds nothing but zeroes: nobody needs to look.
    yield* formatting(memory, format, { force: true });
    beforePublish?.();
    backing.publish();
    done = true;
    return memory;
  } finally {
    if (!done) memory.close();
  }
}
