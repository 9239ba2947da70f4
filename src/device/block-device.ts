import type { DirectBlocks, SharedDevice } from "./direct-blocks.ts";

/** A run of bytes that share one state, as NBD's `base:allocation` tells it. */
export interface Extent {
  readonly lengthBytes: number;
  /** No page is reserved: a write here may answer ENOSPC. */
  readonly hole: boolean;
  /** Reads as zeroes. */
  readonly zero: boolean;
}

/**
 * A disk, as servers see it. Calls are synchronous and complete: when one returns, what it did survives the death of
 * the process. Offsets and lengths are bytes, need no alignment, and lie inside the device (the caller checks).
 * Every call may throw a PerdureError: ENOSPC (nothing or a whole number of leading blocks was written), READ_ONLY,
 * POISONED, CLOSED or EIO.
 */
export interface BlockDevice {
  readonly name: string;
  readonly readOnly: boolean;
  /** Size in bytes; it may grow while the device is in use, it never shrinks. */
  readonly sizeBytes: number;
  /** The unit that a crash never tears, in bytes: a power of two. */
  readonly blockBytes: number;
  /** Copies `target.length` bytes at `offset` into `target`; what was never written reads as zeroes. */
  read(offset: number, target: Uint8Array): void;
  /** Stores `source` at `offset`; each block is wholly old or wholly new after a crash. */
  write(offset: number, source: Uint8Array): void;
  /** Makes a range read as zeroes; with `keepAllocated` its pages stay reserved, so that later writes cannot fail. */
  zero(offset: number, lengthBytes: number, options: { keepAllocated: boolean }): void;
  /** Gives whole blocks of the range back and zeroes the rest of it. */
  trim(offset: number, lengthBytes: number): void;
  /** Makes what was written durable as far as the backing can. */
  flush(): void;
  /** States of the range in order, at most `limit` runs; they may cover less than the range when the limit is met. */
  extents(offset: number, lengthBytes: number, limit: number): Extent[];
  /** Undefined where its blocks do not stand in memory that the kernel can work on in place. */
  readonly direct?: DirectBlocks | undefined;
  /** What other threads of this process open it with, while it is open here; undefined where they cannot. */
  share?(): SharedDevice | undefined;
}
