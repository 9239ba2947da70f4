import { PerdureError } from "../base/index.ts";
import { type Memory, persist } from "../memory/index.ts";
import { kind, kindOf, makeClaim, ownerOf, revisionOf } from "./claim.ts";
import type { InstanceState, RegionCore } from "./core.ts";
import { readEntry } from "./frame-table.ts";
import { acquire, release } from "./locks.ts";
import { raiseMark } from "./state-record.ts";

declare const draftBrand: unique symbol;
declare const durableBrand: unique symbol;
/** A page that was taken and that nobody can reach: bulk writers may fill it. */
export type Draft = number & { readonly [draftBrand]: true };
/** A draft whose content is persisted: only such a page may be claimed (rule 1). */
export type Durable = number & { readonly [durableBrand]: true };

/** Zeroes to fill pages from; as long as the largest page. */
const ZEROES = new Uint8Array(2 * 2 ** 20);

/** Takes, fills, claims and withdraws single pages: the stores that every structural change consists of. */
export class FrameWriter {
  readonly memory: Memory;
  readonly core: RegionCore;
  readonly thread: number;
  /** Where this thread looks for its next free page. */
  #hint = 0;

  constructor(memory: Memory, core: RegionCore, thread: number) {
    this.memory = memory;
    this.core = core;
    this.thread = thread;
  }

  // ---- taking ----------------------------------------------------------------------------------------------

  /**
   * Takes a free page. `overwriting` may use the reserve.
   *
   * Rule 5: everything that an operation needs is taken before its first store.
   * @throws ENOSPC
   */
  take(overwriting: boolean): Draft {
    if (!overwriting) this.#refuseReserve(1);
    for (;;) {
      const page = this.core.freePages.take(this.#hint);
      if (page >= 0) {
        this.#hint = page + 1;
        return page as Draft;
      }
      if (!this.#grow()) throw this.#noSpace(1);
    }
  }

  /** Takes `count` single pages, all or none. @throws ENOSPC */
  takeSingles(count: number): Draft[] {
    this.#refuseReserve(count);
    const pages: Draft[] = [];
    try {
      while (pages.length < count) pages.push(this.take(false));
    } catch (error) {
      for (const page of pages) this.untake(page);
      throw error;
    }
    return pages;
  }

  /** Takes an aligned run of 2^order pages. @returns its first page. @throws ENOSPC */
  takeRun(order: number): Draft {
    const length = 2 ** order;
    this.#refuseReserve(length);
    for (;;) {
      const page = this.core.freePages.takeRun(order);
      if (page >= 0) return page as Draft;
      if (this.core.chunks?.growRun(length) !== true && !this.#raise()) throw this.#noSpace(length);
    }
  }

  /** Puts a page back that was taken and never claimed. */
  untake(page: Draft | Durable): void {
    this.core.freePages.release(page);
  }

  #refuseReserve(pages: number): void {
    const { core } = this;
    if (core.freeCount - pages < core.reservePages) throw this.#noSpace(pages);
    if (core.chunks === undefined) return;
    // The reserve has memory before it is needed: else a full file system could not even be overwritten.
    while (core.freePages.count - pages < core.reservePages) if (!this.#grow()) throw this.#noSpace(pages);
  }

  /** Finds memory for more pages. @returns false when there are none. @throws ENOSPC when the backing is full */
  #grow(): boolean {
    return this.core.chunks?.grow() === true || this.#raise();
  }

  #noSpace(pages: number): PerdureError {
    const what = pages === 1 ? "a page" : `an aligned run of ${pages} pages`;
    return new PerdureError("ENOSPC", `${this.core.source} has no room for ${what}`);
  }

  /** @returns false when every page is below the mark already */
  #raise(): boolean {
    const { core } = this;
    const seen = core.state.marks[0];
    if (seen >= core.shape.pages) return false;
    acquire(core.stateLock, 0, this.thread);
    try {
      // Another thread may have raised it while this one waited.
      if (core.state.marks[0] === seen) raiseMark(this.memory, core);
    } finally {
      release(core.stateLock, 0);
    }
    return true;
  }

  // ---- filling ---------------------------------------------------------------------------------------------

  /** Fills a draft with bytes from its byte `within` on. */
  fill(page: Draft, source: Uint8Array, within = 0): void {
    this.memory.fill(this.core.shape.pageOffset(page) + within, source);
  }

  zero(page: Draft): void {
    this.fill(page, ZEROES.subarray(0, this.core.shape.pageBytes));
  }

  /** The bytes of a page, for reading, or for filling a draft. */
  content(page: number): Uint8Array {
    return this.memory.bytes(this.core.shape.pageOffset(page), this.core.shape.pageBytes);
  }

  /**
   * Copies a part of a page to `target`. A reader reads with pread(2), since a hole of a full tmpfs is SIGBUS, and
   * looks at the claim after it has copied: a writer may have given the page to somebody else.
   *
   * @throws EBUSY when it has
   */
  copyPage(owner: number, index: number, page: number, within: number, target: Uint8Array): void {
    const offset = this.core.shape.pageOffset(page) + within;
    if (!this.memory.readOnly) {
      target.set(this.memory.bytes(offset, target.length));
      return;
    }
    this.memory.readInto(offset, target);
    const now = readEntry(this.memory, this.core.shape, page);
    const isSame = now.index === index && ownerOf(now.claim) === owner;
    if (isSame && (kindOf(now.claim) === kind.data || kindOf(now.claim) === kind.run)) return;
    throw new PerdureError("EBUSY", `the page at index ${index} was replaced by the writer of ${this.core.source}`, {
      remedy: "open the region again to see it as it is now",
    });
  }

  /** Rule 1: the content is persisted before any claim makes it reachable. */
  persist(page: Draft, pages = 1): Durable {
    persist(this.memory, this.core.shape.pageOffset(page), pages * this.core.shape.pageBytes);
    return page as number as Durable;
  }

  // ---- claiming and withdrawing ----------------------------------------------------------------------------

  /** Commits index and claim with one 64-bit store: an index alone over a FREE entry would break its check. */
  claim(page: Durable, owner: number, kindNumber: number, index: number, revision: number): void {
    const offset = this.core.shape.entryOffset(page);
    this.memory.commit64(offset, index, makeClaim(page, index, kindNumber, revision, owner));
    this.memory.flush(offset, 8);
  }

  /** Commits FREE over a claim, whatever index stands there. The page may be reused after the next fence only. */
  withdraw(page: number): void {
    const offset = this.core.shape.entryOffset(page);
    this.memory.commit32(offset + 4, makeClaim(page, this.indexOf(page), kind.free, 0, 0));
    this.memory.flush(offset, 8);
  }

  /** Waits until what this thread flushed is durable. */
  fence(): void {
    this.memory.fence();
  }

  /** Rule 2: a page is reused only after its withdrawal is persisted. */
  withdrawAndRelease(page: number): void {
    this.withdraw(page);
    this.fence();
    this.core.freePages.release(page);
  }

  revision(page: number): number {
    return revisionOf(this.claimOf(page));
  }

  /** True for a tail of an aligned run. */
  isTail(page: number): boolean {
    return kindOf(this.claimOf(page)) === kind.run;
  }

  /** True when `next` is the tail that goes on where `page` ends: same owner, index above. */
  follows(page: number, next: number): boolean {
    const isSameOwner = ownerOf(this.claimOf(next)) === ownerOf(this.claimOf(page));
    return this.isTail(next) && isSameOwner && this.indexOf(next) === this.indexOf(page) + 1;
  }

  claimOf(page: number): number {
    return this.memory.load32(this.core.shape.entryOffset(page) + 4);
  }

  indexOf(page: number): number {
    return this.memory.load32(this.core.shape.entryOffset(page));
  }

  // ---- instances -------------------------------------------------------------------------------------------

  /**
   * A reader's stores would be lost without a word, since its mapping is private; on a device they end the process.
   *
   * @throws CLOSED, POISONED, READ_ONLY
   */
  refuseUnwritable(): void {
    this.core.refuseUnusable();
    if (this.memory.readOnly) throw new PerdureError("READ_ONLY", `${this.core.source} was opened read-only`);
  }

  /**
   * Runs an operation on a whole instance: those on its pages drain first, and wait until it ends (rule 8).
   *
   * @throws ENOENT when the instance was deleted, EBUSY while it is the source of a save, CLOSED, POISONED, READ_ONLY
   */
  alone<T>(instance: InstanceState, act: () => T): T {
    this.refuseUnwritable();
    instance.gate.close(this.thread);
    try {
      instance.refuseDeleted();
      instance.refuseSaved();
      return act();
    } catch (error) {
      throw this.core.failed(error);
    } finally {
      instance.gate.open();
    }
  }
}
