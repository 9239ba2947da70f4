import type { BlockDevice } from "./block-device.ts";

/**
 * Blocks that stand in the memory of this process, for servers that let the kernel copy from and to them. Addresses are
 * numbers below 2^47. Every call may throw what those of a BlockDevice throw.
 */
export interface DirectBlocks {
  /**
   * From now on what `addressOf` finds stays what it is until `leave`, whoever changes the device meanwhile. Nobody
   * waits for a client inside.
   */
  enter(): void;
  leave(): void;
  /** Lets blocks that were replaced while somebody sent them be used again. @returns whether some still wait */
  settle(): boolean;
  /** Blocks that this thread has replaced and that wait for those who send, itself among them. */
  readonly heldPages: number;
  /** Where a block stands, inside of `enter` and `leave`; 0 for one of zeroes. */
  addressOf(block: number): number;
  /** Takes memory for a block that will be written as a whole; 0 when there is too little to keep some waiting. */
  take(): number;
  /** Where memory that was taken stands. */
  addressOfDraft(draft: number): number;
  /**
   * Puts memory that was taken, and filled, in the places of blocks from `first` on, in order. What stands there is 0
   * in `drafts` then; when this fails, the rest is still the caller's.
   */
  putAll(first: number, drafts: Float64Array, count: number): void;
  giveBack(draft: number): void;
}

/** What another thread of this process needs to use a device; it can be posted there. */
export interface SharedDevice {
  /** The module whose function `joinDevice` takes `data` and opens the device in that thread. */
  readonly module: string;
  readonly data: unknown;
}

/** A device that was opened in another thread, for as long as that thread uses it. */
export interface JoinedDevice extends Disposable {
  readonly device: BlockDevice;
}

/** What a module that `SharedDevice` names exports. */
export interface JoinModule {
  /** @throws CLOSED, POISONED, ENOENT, EBUSY */
  joinDevice(data: unknown): JoinedDevice;
}
