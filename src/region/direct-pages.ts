import { isPerdureError } from "../base/index.ts";
import type { Memory } from "../memory/index.ts";
import type { Draft } from "./frame-writer.ts";
import type { InstanceState } from "./instance-state.ts";
import type { OpenRegion } from "./open-region.ts";

/** A memory whose bytes have addresses. */
type AddressedMemory = Memory & Required<Pick<Memory, "addressOf">>;

/**
 * The pages of an instance for calls of the kernel: it sends them from where they stand, and receives into fresh pages
 * that take their place when they are full.
 */
export class DirectPages {
  readonly #region: OpenRegion;
  readonly #memory: AddressedMemory;
  readonly #instance: InstanceState;

  private constructor(region: OpenRegion, memory: AddressedMemory, instance: InstanceState) {
    this.#region = region;
    this.#memory = memory;
    this.#instance = instance;
  }

  /** Undefined where the kernel cannot work on pages in place: they have checksums, or no address, or no memory yet. */
  static of(region: OpenRegion, instance: InstanceState): DirectPages | undefined {
    const { memory, core } = region;
    if (core.shape.hasSeals || core.chunks !== undefined || memory.readOnly || !hasAddresses(memory)) return undefined;
    return new DirectPages(region, memory, instance);
  }

  /**
   * From now on what `addressOf` finds stays what it is until `leave`, whoever changes the instance meanwhile. Nobody
   * waits for a client inside.
   *
   * @throws CLOSED, POISONED, MEMORY_LOST, ENOENT (the instance was deleted)
   */
  enter(): void {
    const { core } = this.#region;
    core.refuseUnusable();
    this.#instance.refuseDeleted();
    this.#memory.refuseLost();
    core.shared.senders.enter();
  }

  leave(): void {
    this.#region.core.shared.senders.leave();
  }

  /** Gives out pages that were freed while somebody sent them. @returns whether there are more of them */
  settle(): boolean {
    const { freePages, shared } = this.#region.core;
    if (shared.senders.heldPages > 0) freePages.settle();
    return shared.senders.heldPages > 0;
  }

  /** Pages that this thread replaced and that wait for senders, itself among them. */
  get heldPages(): number {
    return this.#region.core.shared.senders.heldPages;
  }

  /** The address of the page that is shown at an index, inside of `enter` and `leave`; 0 when there is none. */
  addressOf(index: number): number {
    const page = this.#region.pages.view.find(this.#instance, index);
    return page === 0 ? 0 : this.addressOfDraft(page);
  }

  /** Takes a page to be filled; 0 when there is so little room that no client may keep one waiting. */
  take(): number {
    try {
      return this.#region.pages.writer.take(this.#instance);
    } catch (error) {
      if (isPerdureError(error, "ENOSPC") || isPerdureError(error, "EDQUOT")) return 0;
      throw error;
    }
  }

  addressOfDraft(draft: number): number {
    return this.#memory.addressOf(this.#region.core.shape.pageOffset(draft));
  }

  /** Puts pages that were taken, and filled as a whole, in the places from an index on; then they are 0 in `drafts`. */
  putAll(first: number, drafts: Float64Array, count: number): void {
    this.#region.pages.putAll(this.#instance, first, drafts, count);
  }

  giveBack(draft: number): void {
    this.#region.pages.writer.untake(draft as Draft);
  }
}

function hasAddresses(memory: Memory): memory is AddressedMemory {
  return memory.addressOf !== undefined;
}
