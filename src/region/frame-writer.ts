import { PerdureError } from "../base/index.ts";
import { type Memory, persist } from "../memory/index.ts";
import { kind, kindOf, makeClaim, ownerOf, revisionOf } from "./claim.ts";
import { MIN_RESERVE_PAGES, missingOf, type RegionCore } from "./core.ts";
import { readEntry } from "./frame-table.ts";
import type { InstanceState } from "./instance-state.ts";
import { withLock } from "./locks.ts";
import type { MaskPlace } from "./masks.ts";
import { NoRoomError, refuseQuota } from "./no-room.ts";
import { readSealed, refuseDamaged, sealPages } from "./seals.ts";
import { raiseMark } from "./state-record.ts";
import { ThreadEpoch } from "./thread-epoch.ts";
import { maxThreads } from "./thread-table.ts";

declare const draftBrand: unique symbol;
declare const durableBrand: unique symbol;
/** A page that was taken and that nobody can reach: bulk writers may fill it. */
export type Draft = number & { readonly [draftBrand]: true };
/** A draft whose content is persisted: only such a page may be claimed (rule 1). */
export type Durable = number & { readonly [durableBrand]: true };

/** A merge beside a reader moves a page from layer to layer, and its content stays: so often it is read again. */
const READ_TRIES = 5;

/** Zeroes to fill pages from; as long as the largest page. */
const ZEROES = new Uint8Array(2 * 2 ** 20);

/** Takes, fills, claims and withdraws single pages: the stores that every structural change consists of. */
export class FrameWriter {
  readonly memory: Memory;
  readonly core: RegionCore;
  readonly thread: number;
  readonly epoch: ThreadEpoch;
  /** Where this thread looks for its next free page. */
  #hint = 0;
  /** A page that is read in part is verified whole, here. */
  #whole: Uint8Array | undefined;
  /** Pages that this thread may take before it counts the free ones again. */
  #allowance = 0;
  /** What instances were guaranteed when that was found. */
  #promised = 0;

  constructor(memory: Memory, core: RegionCore, thread: number) {
    this.memory = memory;
    this.core = core;
    this.thread = thread;
    this.epoch = new ThreadEpoch(memory, core, thread);
  }

  // ---- taking ----------------------------------------------------------------------------------------------

  /**
   * Takes a free page for an instance that is to have one page more, or for the region itself.
   *
   * Rule 5: everything that an operation needs is taken before its first store.
   * @throws ENOSPC, EDQUOT
   */
  take(instance?: InstanceState): Draft {
    this.refuseMore(instance, 1);
    return this.takeReserved();
  }

  /** Takes a free page, of the reserve if need be: another one is given back for it soon. @throws ENOSPC */
  takeReserved(): Draft {
    for (let isLast = false; ; ) {
      const page = this.core.freePages.take(this.#hint);
      if (page >= 0) {
        this.#hint = page + 1;
        return page as Draft;
      }
      if (this.#grow()) continue;
      if (isLast) throw this.#noSpace(1);
      // Nothing is held back any more: since the look above somebody may have given it out.
      isLast = !this.core.freePages.waitForHeld();
    }
  }

  /** Takes a page of masks, of the reserve if need be, but not what others are guaranteed or overwrite with. */
  takeForMask(): Draft {
    const { core } = this;
    if (core.freeCount <= core.promised + MIN_RESERVE_PAGES) throw this.#noSpace(1);
    return this.takeReserved();
  }

  /** Takes `count` single pages, all or none. @throws ENOSPC */
  takeSingles(count: number): Draft[] {
    this.refuseMore(undefined, count);
    const pages: Draft[] = [];
    try {
      while (pages.length < count) pages.push(this.take());
    } catch (error) {
      for (const page of pages) this.untake(page);
      throw error;
    }
    return pages;
  }

  /** Takes an aligned run of 2^order pages for an instance. @returns its first page. @throws ENOSPC, EDQUOT */
  takeRun(instance: InstanceState, order: number): Draft {
    const length = 2 ** order;
    this.refuseMore(instance, length);
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

  /**
   * What others are guaranteed is not given to this one, nor more than its quota. What it is guaranteed itself it gets
   * also where masks have taken a part of the reserve.
   *
   * @throws ENOSPC, EDQUOT
   */
  refuseMore(instance: InstanceState | undefined, pages: number): void {
    const { core } = this;
    if (instance !== undefined) refuseQuota(instance, pages);
    // Counting looks at the words of all threads. What each may take unseen is so little that all of them together do
    // not reach the reserve, and it ends when instances are guaranteed more or less.
    const { promised } = core;
    if (pages <= this.#allowance && promised === this.#promised) {
      this.#allowance -= pages;
      return;
    }
    const own = promised === 0 || instance === undefined ? 0 : missingOf(instance);
    const reserve = pages <= own ? MIN_RESERVE_PAGES : core.reservePages;
    const wanted = reserve + promised - own + pages;
    while (core.freeCount < wanted) {
      if (core.freePages.waitForHeld()) continue;
      // Looked at once more: what was held back may have been given out just now.
      const missing = wanted - core.freeCount;
      if (missing > 0) throw this.#noSpace(pages, missing);
    }
    if (core.chunks !== undefined) {
      this.#backReserve(pages);
      return;
    }
    this.#allowance = Math.max(
      0,
      Math.floor((core.freeCount - pages - core.reservePages - promised) / (2 * maxThreads)),
    );
    this.#promised = promised;
  }

  /** `besides` are pages that will be taken before. @throws ENOSPC when so many more pages cannot be guaranteed */
  refusePromise(pages: number, besides = 0): void {
    const { core } = this;
    const missing = core.reservePages + core.promised + pages + besides - core.freeCount;
    if (pages > 0 && missing > 0) throw this.#noSpace(pages, missing);
  }

  /** The reserve has memory before it is needed: else a full file system could not even be overwritten. */
  #backReserve(pages: number): void {
    const { freePages, reservePages } = this.core;
    while (freePages.count - pages < reservePages) if (!this.#grow()) throw this.#noSpace(pages);
  }

  /** Finds memory for more pages. @returns false when there are none. @throws ENOSPC when the backing is full */
  #grow(): boolean {
    return this.core.chunks?.grow() === true || this.#raise();
  }

  #noSpace(pages: number, missingPages = 1): NoRoomError {
    return new NoRoomError(this.core.source, pages, missingPages);
  }

  /** @returns false when every page is below the mark already */
  #raise(): boolean {
    const { core } = this;
    const seen = core.words.mark;
    if (seen >= core.shape.pages) return false;
    withLock(core.stateLock, 0, this.thread, () => {
      // Another thread may have raised it while this one waited.
      if (core.words.mark !== seen) return;
      this.epoch.change();
      raiseMark(this.memory, core);
    });
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

  /**
   * Fills a draft with the content of another page. Damage is not copied, since the draft's seal would make it good:
   * the draft is put back.
   *
   * @throws DATA_CORRUPT
   */
  fillFrom(draft: Draft, page: number): void {
    const { memory, core } = this;
    try {
      if (core.shape.hasSeals) refuseDamaged(memory, core, page);
    } catch (error) {
      this.untake(draft);
      throw error;
    }
    this.fill(draft, memory.bytes(core.shape.pageOffset(page), core.shape.pageBytes));
  }

  /**
   * Copies a part of a page to `target`. A reader reads with pread(2), since a hole of a full tmpfs is SIGBUS, and
   * looks at the claim before and after: a writer may have given the page to somebody else, and even back again.
   *
   * @throws EBUSY when it has; DATA_CORRUPT; MEMORY_LOST
   */
  copyPage(instance: InstanceState, index: number, page: number, within: number, target: Uint8Array): void {
    if (!this.memory.readOnly) {
      this.#copyAsItIs(index, page, within, target);
      this.memory.refuseLost();
      return;
    }
    let claim = this.#claimShown(instance, index, page);
    for (let tries = 0; tries < READ_TRIES; tries++) {
      const before = claim;
      this.#copyAsItIs(index, page, within, target);
      claim = this.#claimShown(instance, index, page);
      if (claim === before) return;
    }
    throw this.core.replaced(index);
  }

  /** The claim of a page that a reader was shown. @throws EBUSY when it is no page of the instance any longer */
  #claimShown(instance: InstanceState, index: number, page: number): number {
    const now = readEntry(this.memory, this.core.shape, page);
    this.memory.refuseLost();
    const owner = ownerOf(now.claim);
    const isSame = now.index === index && isOfLayers(instance, this.core.lenders.get(owner) ?? owner);
    if (isSame && (kindOf(now.claim) === kind.data || kindOf(now.claim) === kind.run)) return now.claim;
    throw this.core.replaced(index);
  }

  #copyAsItIs(index: number, page: number, within: number, target: Uint8Array): void {
    const offset = this.core.shape.pageOffset(page) + within;
    if (this.core.shape.hasSeals) this.#copySealed(index, page, within, target);
    else if (this.memory.readOnly) this.memory.readInto(offset, target);
    else target.set(this.memory.bytes(offset, target.length));
  }

  // What is compared with the seal is the copy that is given out.
  #copySealed(index: number, page: number, within: number, target: Uint8Array): void {
    const { pageBytes } = this.core.shape;
    if (target.length === pageBytes) {
      readSealed(this.memory, this.core, page, index, target);
      return;
    }
    this.#whole ??= new Uint8Array(pageBytes);
    readSealed(this.memory, this.core, page, index, this.#whole);
    target.set(this.#whole.subarray(within, within + target.length));
  }

  /** Rule 1: the content is persisted before any claim makes it reachable, and its seal with it. */
  persist(page: Draft, pages = 1): Durable {
    const { shape } = this.core;
    // A claimed page is handed over with the seal that it has: a new one would make damage good.
    if (shape.hasSeals && kindOf(this.claimOf(page)) === kind.free) sealPages(this.memory, shape, page, pages);
    persist(this.memory, shape.pageOffset(page), pages * shape.pageBytes);
    return page as number as Durable;
  }

  // ---- claiming and withdrawing ----------------------------------------------------------------------------

  /** Commits index and claim with one 64-bit store: an index alone over a FREE entry would break its check. */
  claim(page: Durable, owner: number, kindNumber: number, index: number, revision: number): void {
    this.epoch.change();
    const offset = this.core.shape.entryOffset(page);
    this.memory.commit64(offset, index, makeClaim(page, index, kindNumber, revision, owner));
    this.memory.flush(offset, 8);
  }

  /** Commits FREE over a claim, whatever index stands there. The page may be reused after the next fence only. */
  withdraw(page: number): void {
    this.epoch.change();
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

  /** Rule 4: bits of a mask are set one atomic OR at a time, so two threads lose none. */
  orMask(page: number, { offset, bits }: MaskPlace): void {
    this.epoch.change();
    const at = this.core.shape.pageOffset(page) + offset;
    this.memory.or32(at, bits);
    this.memory.flush(at, 4);
  }

  /** True for a tail of an aligned run. */
  isTail(page: number): boolean {
    return kindOf(this.claimOf(page)) === kind.run;
  }

  /** True when `next` is the tail that goes on where `page` ends: same owner, index above. */
  follows(page: number, next: number): boolean {
    // Looked at once: what is no tail of this owner may change at any time, the tails of this owner may not.
    const claim = this.claimOf(next);
    const isTailOfOwner = kindOf(claim) === kind.run && ownerOf(claim) === ownerOf(this.claimOf(page));
    return isTailOfOwner && this.indexOf(next) === this.indexOf(page) + 1;
  }

  claimOf(page: number): number {
    return this.memory.load32(this.core.shape.entryOffset(page) + 4);
  }

  indexOf(page: number): number {
    return this.memory.load32(this.core.shape.entryOffset(page));
  }

  // ---- locks -----------------------------------------------------------------------------------------------

  /** Runs an operation of its own behind a lock of the region. */
  locked<T>(words: Int32Array, at: number, act: () => T): T {
    this.epoch.enter();
    try {
      return withLock(words, at, this.thread, act);
    } finally {
      this.epoch.leave();
    }
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
    return this.drained(instance, () => {
      instance.refuseDeleted();
      instance.refuseSaved();
      return act();
    });
  }

  /** As `alone`, whatever the instance is. */
  drained<T>(instance: InstanceState, act: () => T): T {
    this.epoch.enter();
    try {
      instance.gate.close(this.thread);
      try {
        return act();
      } catch (error) {
        throw this.core.failed(error);
      } finally {
        instance.gate.open();
      }
    } finally {
      this.epoch.leave();
    }
  }
}

/** True when an owner is the instance or a layer below it: a merge may have handed the page from one to the next. */
function isOfLayers(instance: InstanceState, owner: number): boolean {
  let layer: InstanceState | undefined = instance;
  while (layer !== undefined && layer.owner !== owner) layer = layer.parent;
  return layer !== undefined;
}
