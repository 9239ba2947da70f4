/** One mapped byte range of a memory. */
export interface MemoryRange {
  /** Where the range starts in the flat byte space of the memory. */
  readonly offset: number;
  readonly lengthBytes: number;
  /** Path or `fd:N`, for messages. */
  readonly source: string;
}

/** What data in a memory outlive. */
export interface Survival {
  /** The end of the process that wrote them, orderly or by SIGKILL. */
  readonly crash: boolean;
  /** The last file descriptor being closed (a file does, an inherited memfd does not). */
  readonly lastClose: boolean;
  /** A power cut or reboot. */
  readonly powerLoss: boolean;
}

/**
 * What of a memory its backing holds, for those who allocate it piece by piece. A store into a hole of a file system
 * that is full ends the process by SIGBUS, and so does a load through the mapping.
 */
export interface Space {
  /** How much is best allocated or given back at a time: a power of two. */
  readonly chunkBytes: number;
  /** What the backing holds now. */
  readonly allocatedBytes: number;
  /** Makes sure that a range is there; what it holds stays. @throws ENOSPC; nothing was changed then */
  allocate(offset: number, lengthBytes: number): void;
  /** Gives a range back: it reads as zeroes, and nobody may store there before it is allocated again. */
  punch(offset: number, lengthBytes: number): void;
  /** The first byte at or after `offset` that is not surely there; the end of the memory when all of it is. */
  nextHole(offset: number): number;
}

/**
 * The one gateway to persistent bytes, one handle a thread. Offsets are bytes in one flat space over all ranges.
 *
 * Rule 4: live metadata change only through `commit32`, `commit64` and `or32`, one aligned store each. `fill`, `zero`
 * and writes through `bytes()` land in any order and may tear: they may only touch unreachable pages and the unused
 * slot of a dual record. `flush` starts to make a range durable, `fence` ends what this handle flushed; both cost
 * nothing where stores outlive the process by themselves.
 */
export interface Memory {
  readonly ranges: readonly MemoryRange[];
  /** End of the flat byte space. */
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly survival: Survival;
  /** Another process has it open for writing now: what is read may be in the middle of a change. */
  readonly hasWriter: boolean;
  /** Undefined where there are no holes: a device, ordinary memory. */
  readonly space?: Space | undefined;

  /**
   * Where in the address space of this process a byte stands, for calls of the kernel that read or fill it there;
   * undefined for a memory that has no such place. Addresses are below 2^47.
   */
  addressOf?(offset: number): number;
  /** One 32-bit load. */
  load32(offset: number): number;
  /** A view of at most one window (`windowBytes`, which pages never straddle). */
  bytes(offset: number, lengthBytes: number): Uint8Array;
  /** A copy of a range, read without touching the mapping where the backing can (a hole of a full tmpfs is SIGBUS). */
  read(offset: number, lengthBytes: number): Uint8Array;
  /** As `read`, into a buffer of the caller. */
  readInto(offset: number, target: Uint8Array): void;

  /** One aligned 32-bit store. */
  commit32(offset: number, value: number): void;
  /** One aligned 64-bit store of two words. */
  commit64(offset: number, low: number, high: number): void;
  /** One atomic OR of a 32-bit word. */
  or32(offset: number, bits: number): void;

  fill(offset: number, source: Uint8Array): void;
  zero(offset: number, lengthBytes: number): void;

  flush(offset: number, lengthBytes: number): void;
  /** @throws EIO when the backing could not make the range durable, MEMORY_LOST; the region is poisoned then */
  fence(): void;
  /** Flushes everything: a new owner's first act, since the dead one may have left stores unflushed. */
  flushAll(): void;
  /**
   * Makes everything durable as far as the backing can: what a disk's FLUSH promises.
   *
   * @throws EIO, MEMORY_LOST; ENOENT when no name leads to the backing any longer: it ends with its users
   */
  sync(): void;
  /**
   * Asked after a read through the mapping, before what was read is given away. `fence` and `sync` ask by themselves.
   *
   * @throws MEMORY_LOST when pages went away that were touched: zeroes were read in their place, stores are nowhere
   */
  refuseLost(): void;

  /** Detaches every view, then unmaps, unlocks and closes. Safe to call twice. */
  close(): void;
}

/**
 * Views are made in windows of this many bytes, when they are first touched. V8 counts every byte of a view as memory
 * pressure and collects the whole heap for each 64 MiB of them, so an open must not need many.
 */
export const windowBytes: number = 8 * 2 ** 20;

/** Flushes a range and waits for it. */
export function persist(memory: Memory, offset: number, lengthBytes: number): void {
  memory.flush(offset, lengthBytes);
  memory.fence();
}

/** A bulk write that may cross a window; what it writes is unreachable, so it need not be one store. */
export function fillAcrossWindows(memory: Memory, offset: number, source: Uint8Array): void {
  for (let done = 0; done < source.length; ) {
    const room = windowBytes - ((offset + done) % windowBytes);
    const step = Math.min(room, source.length - done);
    memory.fill(offset + done, source.subarray(done, done + step));
    done += step;
  }
}
