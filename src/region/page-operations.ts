import { assert, PerdureError } from "../base/index.ts";
import { kind } from "./claim.ts";
import { missingOf, type RegionCore } from "./core.ts";
import type { Draft, FrameWriter } from "./frame-writer.ts";
import type { InstanceState } from "./instance-state.ts";
import { LayerView } from "./layer-view.ts";
import { acquire, enterBoth, release } from "./locks.ts";
import { Masks } from "./masks.ts";
import { refuseQuota } from "./no-room.ts";
import type { PageTable } from "./page-table.ts";

/** What a claim claims, apart from the owner: a kind and an index. */
export interface Place {
  readonly instance: InstanceState;
  readonly kind: number;
  readonly index: number;
}

/**
 * The operations on single pages. Each holds the lock of its name from the look-up until the loser's claim is
 * withdrawn, that is persisted, and the page table says so (rule 8); each ends with a fence, so that what returned is
 * durable.
 */
export class PageOperations {
  readonly writer: FrameWriter;
  readonly view: LayerView;
  readonly #core: RegionCore;
  readonly #locks: Int32Array;
  readonly #masks: Masks;

  constructor(writer: FrameWriter) {
    this.writer = writer;
    this.#core = writer.core;
    this.#locks = writer.core.names.words;
    this.view = new LayerView(writer.memory, writer.core);
    this.#masks = new Masks(writer, this.view);
  }

  /**
   * Holds the page at a place; where there is none, one of zeroes, or a copy of the one shared.
   *
   * @throws ENOSPC, EINVAL
   */
  ensure(instance: InstanceState, kindNumber: number, index: number): number {
    const stripe = this.#begin(instance, index);
    try {
      const table = instance.table(kindNumber);
      const present = table.get(index);
      if (present !== 0) return this.#core.pins.hold(present);
      const shared = this.#inherited(instance, kindNumber, index);
      const draft = this.writer.take(instance);
      if (shared === 0) this.writer.zero(draft);
      else this.writer.fillFrom(draft, shared);
      return this.#core.pins.hold(this.#publish(instance, table, kindNumber, index, draft));
    } catch (error) {
      throw this.#core.failed(error);
    } finally {
      this.#end(instance, stripe);
    }
  }

  /**
   * Holds the page that a snapshot, or an instance of a reader, shows at an index.
   *
   * @returns 0 when there is none; undefined for what may be written, which is held by `ensure`
   */
  holdShown(instance: InstanceState, index: number): number | undefined {
    const isAlone = this.writer.memory.readOnly;
    if (!isAlone) this.writer.epoch.enter();
    try {
      if (!isAlone) instance.gate.enter();
      try {
        instance.refuseOutside(index);
        // Asked behind the gate: while another thread takes a snapshot the instance is one for a moment.
        if (!isAlone && !instance.isReadOnly) return undefined;
        const page = this.view.find(instance, index);
        return page === 0 ? 0 : this.#core.pins.hold(page);
      } finally {
        if (!isAlone) instance.gate.leave();
      }
    } finally {
      if (!isAlone) this.writer.epoch.leave();
    }
  }

  /**
   * Overwrites a part of a page, or all of it, by a replace: after a crash the page is wholly old or wholly new.
   * A page that is not there reads as zeroes around what is written.
   *
   * @throws ENOSPC, EBUSY (pinned), EINVAL (index outside of the instance, or part of a run)
   */
  write(instance: InstanceState, index: number, within: number, source: Uint8Array): void {
    const stripe = this.#begin(instance, index);
    try {
      const table = instance.table(kind.data);
      const old = table.get(index);
      if (old === 0) {
        const shared = this.#inherited(instance, kind.data, index);
        const draft = this.#compose(this.writer.take(instance), shared, within, source);
        this.#publish(instance, table, kind.data, index, draft);
        return;
      }
      this.#refuseFixed(old);
      this.#replace(instance, table, index, old, this.#compose(this.writer.takeReserved(), old, within, source));
    } catch (error) {
      throw this.#core.failed(error);
    } finally {
      this.#end(instance, stripe);
    }
  }

  /**
   * Puts drafts, filled as a whole, in the places of the pages from an index on, one after the other. Those that stand
   * there are 0 in `drafts` afterwards; when this fails, the others are still the caller's.
   *
   * @throws EDQUOT, EBUSY (pinned), EINVAL (index outside of the instance, or part of a run)
   */
  putAll(instance: InstanceState, first: number, drafts: Float64Array, count: number): void {
    this.writer.refuseUnwritable();
    this.writer.epoch.enter();
    try {
      instance.gate.enter();
      try {
        instance.refuseOutside(first + count - 1);
        instance.refuseReadOnly();
        refuseFresh(instance);
        for (let k = 0; k < count; k++) this.#putOne(instance, first + k, drafts, k);
      } catch (error) {
        throw this.#core.failed(error);
      } finally {
        instance.gate.leave();
      }
    } finally {
      this.writer.epoch.leave();
    }
  }

  #putOne(instance: InstanceState, index: number, drafts: Float64Array, k: number): void {
    const stripe = this.#core.names.stripeOf(instance.owner, index);
    acquire(this.#locks, stripe, this.writer.thread);
    try {
      instance.refuseSaved();
      const table = instance.table(kind.data);
      const old = table.get(index);
      if (old === 0) refuseQuota(instance, 1);
      else if (this.#core.owners.tails(instance.owner) > 0) this.#refuseFixed(old);
      else this.#core.refusePinned(old);
      const draft = drafts[k] as Draft;
      drafts[k] = 0;
      if (old === 0) this.#publish(instance, table, kind.data, index, draft);
      else this.#replace(instance, table, index, old, draft);
    } finally {
      release(this.#locks, stripe);
    }
  }

  /**
   * Makes a place empty: where a layer below shows a page, its mask says so first, and then the own page is withdrawn.
   * The other order would show older data after a kill.
   *
   * @returns false when it was empty
   * @throws EBUSY (pinned), EINVAL (in a run), ENOSPC (no page for the mask)
   */
  free(instance: InstanceState, kindNumber: number, index: number): boolean {
    const stripe = this.#begin(instance, index);
    try {
      const table = instance.table(kindNumber);
      const page = table.get(index);
      const shared = this.#inherited(instance, kindNumber, index);
      if (page === 0 && shared === 0) return false;
      if (page !== 0) this.#refuseFixed(page);
      if (shared !== 0) this.#masks.set(instance, index);
      if (page === 0) return true;
      this.writer.withdraw(page);
      this.writer.fence();
      // Only now may a reader see the hole: before, a kill could bring the page back.
      table.set(index, 0);
      this.#core.addPages(instance, -1);
      this.#core.freePages.release(page);
      return true;
    } catch (error) {
      throw this.#core.failed(error);
    } finally {
      this.#end(instance, stripe);
    }
  }

  /**
   * Gives a page to another place by one store; it stays where it is. A page that stood there is withdrawn after.
   *
   * @throws ENODATA (no page at `from`), EBUSY (pinned), EINVAL (a live page to a pending or volatile place)
   */
  handOver(from: Place, to: Place): void {
    refuseLoss(from, to);
    this.writer.refuseUnwritable();
    this.writer.epoch.enter();
    try {
      enterBoth(from.instance.gate, to.instance.gate);
      try {
        this.#handOverInside(from, to);
      } catch (error) {
        throw this.#core.failed(error);
      } finally {
        if (to.instance !== from.instance) to.instance.gate.leave();
        from.instance.gate.leave();
      }
    } finally {
      this.writer.epoch.leave();
    }
  }

  // ---- steps -----------------------------------------------------------------------------------------------

  /** Enters the instance and locks the name. @returns the stripe that `#end` is to release */
  #begin(instance: InstanceState, index: number): number {
    this.writer.refuseUnwritable();
    this.writer.epoch.enter();
    try {
      instance.gate.enter();
      return this.#beginInside(instance, index);
    } catch (error) {
      this.writer.epoch.leave();
      throw error;
    }
  }

  #beginInside(instance: InstanceState, index: number): number {
    try {
      instance.refuseOutside(index);
      instance.refuseReadOnly();
      refuseFresh(instance);
      const stripe = this.#core.names.stripeOf(instance.owner, index);
      acquire(this.#locks, stripe, this.writer.thread);
      this.#refuseSavedLocked(instance, stripe);
      return stripe;
    } catch (error) {
      instance.gate.leave();
      throw error;
    }
  }

  // Asked behind the lock: a save may have begun, and have taken this very page, while this thread waited for it.
  #refuseSavedLocked(instance: InstanceState, stripe: number): void {
    try {
      instance.refuseSaved();
    } catch (error) {
      release(this.#locks, stripe);
      throw error;
    }
  }

  #end(instance: InstanceState, stripe: number): void {
    release(this.#locks, stripe);
    instance.gate.leave();
    this.writer.epoch.leave();
  }

  /** Fills a draft with the old page, or zeroes, and what is written over it. */
  #compose(draft: Draft, old: number, within: number, source: Uint8Array): Draft {
    if (source.length < this.#core.shape.pageBytes) {
      if (old === 0) this.writer.zero(draft);
      else this.writer.fillFrom(draft, old);
    }
    this.writer.fill(draft, source, within);
    return draft;
  }

  /** The page that the layers below show at a place. */
  #inherited(instance: InstanceState, kindNumber: number, index: number): number {
    return instance.parent === undefined || kindNumber !== kind.data ? 0 : this.view.inherited(instance, index);
  }

  /** Claims a page for a place that has none. */
  #publish(instance: InstanceState, table: PageTable, kindNumber: number, index: number, draft: Draft): number {
    const durable = this.writer.persist(draft);
    this.writer.claim(durable, instance.owner, kindNumber, index, 0);
    this.writer.fence();
    table.set(index, durable);
    this.#core.addPages(instance, 1);
    return durable;
  }

  /** Rule 2: the winner's claim is persisted before the loser's is withdrawn. */
  #replace(instance: InstanceState, table: PageTable, index: number, old: number, draft: Draft): void {
    const durable = this.writer.persist(draft);
    this.writer.claim(durable, instance.owner, kind.data, index, (this.writer.revision(old) + 1) & 3);
    this.writer.fence();
    table.set(index, durable);
    this.writer.withdrawAndRelease(old);
  }

  #handOverInside(from: Place, to: Place): void {
    from.instance.refuseOutside(from.index);
    to.instance.refuseOutside(to.index);
    from.instance.refuseReadOnly();
    to.instance.refuseReadOnly();
    refuseFresh(from.instance);
    const { names } = this.#core;
    const stripeFrom = names.stripeOf(from.instance.owner, from.index);
    const stripeTo = names.stripeOf(to.instance.owner, to.index);
    // Two names are locked in the order of their stripes, and one stripe once: else two threads wait for each other.
    const stripes =
      stripeFrom === stripeTo ? [stripeFrom] : [Math.min(stripeFrom, stripeTo), Math.max(stripeFrom, stripeTo)];
    const held: number[] = [];
    try {
      for (const stripe of stripes) {
        acquire(this.#locks, stripe, this.writer.thread);
        held.push(stripe);
      }
      // A source gives its pages to its save, and to nobody else until that is committed or dropped.
      if (to.instance !== from.instance.save) from.instance.refuseSaved();
      to.instance.refuseSaved();
      this.#move(from, to);
    } finally {
      for (const stripe of held) release(this.#locks, stripe);
    }
  }

  #move(from: Place, to: Place): void {
    const source = from.instance.table(from.kind);
    const target = to.instance.table(to.kind);
    const page = source.get(from.index);
    if (page === 0) throw new PerdureError("ENODATA", `there is no page of its own at index ${from.index}`);
    const victim = target.get(to.index);
    if (victim === page) return;
    this.#refuseFixed(page);
    if (victim !== 0) this.#refuseFixed(victim);
    else if (to.instance !== from.instance) this.#refuseGift(from.instance, to.instance);
    // Else what a layer below has there would show when the page is gone.
    if (this.#inherited(from.instance, from.kind, from.index) !== 0) this.#masks.set(from.instance, from.index);
    // Only content of live, persistent pages is known to be durable already.
    const durable = this.writer.persist(page as Draft);
    const revision = victim === 0 ? this.writer.revision(page) : (this.writer.revision(victim) + 1) & 3;
    this.writer.claim(durable, to.instance.owner, to.kind, to.index, revision);
    this.writer.fence();
    target.set(to.index, page);
    this.#core.addPages(to.instance, 1);
    source.set(from.index, 0);
    this.#core.addPages(from.instance, -1);
    if (victim === 0) return;
    this.#core.addPages(to.instance, -1);
    this.writer.withdrawAndRelease(victim);
  }

  // Who gives a page away that it is guaranteed is to get another for it.
  #refuseGift(from: InstanceState, to: InstanceState): void {
    refuseQuota(to, 1);
    const { quotaMinPages } = from.record;
    if (quotaMinPages > 0 && from.pages <= quotaMinPages && missingOf(to) === 0) this.writer.refusePromise(1);
  }

  #refuseFixed(page: number): void {
    this.#core.refusePinned(page);
    if (isRunPart(this.writer, page)) {
      throw new PerdureError("EINVAL", `page ${page} is part of an aligned run: free or keep the run as a whole`);
    }
  }
}

/** True when the page is the head or a tail of an aligned run. */
export function isRunPart(writer: FrameWriter, page: number): boolean {
  assert(page < writer.core.shape.pages, "a page of the region");
  return writer.isTail(page) || (page + 1 < writer.core.words.mark && writer.follows(page, page + 1));
}

/**
 * What a save with a source holds goes back there if it is never committed: so until then it takes pages of that source
 * and nothing else, and gives none away.
 *
 * @throws EINVAL
 */
export function refuseFresh(instance: InstanceState): void {
  if (!instance.isPending || instance.record.source === 0) return;
  throw new PerdureError("EINVAL", `"${instance.record.name}" names a source: it takes pages of that source only`);
}

// A pending or volatile place is emptied by the next open, and with it a page that was safe before.
function refuseLoss(from: Place, to: Place): void {
  if (!to.instance.isPending && to.kind !== kind.volatile) return;
  const { source } = to.instance.record;
  const comesBack = to.kind !== kind.volatile && source === from.instance.owner && to.index === from.index;
  const isLost = !from.instance.isPending && from.kind !== kind.volatile;
  if (comesBack || (!isLost && source === 0)) return;
  throw new PerdureError(
    "EINVAL",
    "a page is handed to a pending or volatile place only where a crash cannot lose it",
    {
      remedy: "publish the other instance first, or create it with this one as its source and hand over index by index",
    },
  );
}
