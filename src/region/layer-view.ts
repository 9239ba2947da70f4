import { PerdureError } from "../base/index.ts";
import type { Memory } from "../memory/index.ts";
import { kind, kindOf, ownerOf } from "./claim.ts";
import type { InstanceState, RegionCore } from "./core.ts";
import { readEntry } from "./frame-table.ts";

/** What an instance has at an index. */
export type PageState = "own" | "shared" | "none";

/**
 * Looks pages up through layers: a layer's own claim; else, where its mask has no bit and below its reach, what the
 * layer below shows.
 */
export class LayerView {
  readonly #memory: Memory;
  readonly #core: RegionCore;

  constructor(memory: Memory, core: RegionCore) {
    this.#memory = memory;
    this.#core = core;
  }

  /** The page that an instance shows at an index, its own or a shared one; 0 for a hole. */
  find(instance: InstanceState, index: number): number {
    const own = instance.table(kind.data).get(index);
    return own !== 0 || instance.parent === undefined ? own : this.inherited(instance, index);
  }

  /**
   * The page that the layers below show at an index, whether or not the instance has one of its own; 0 for a hole.
   * It counts when a second pass gives the same: a merge may be moving it from one layer to the next.
   */
  inherited(instance: InstanceState, index: number): number {
    for (;;) {
      const page = this.#lookBelow(instance, index);
      if (this.#lookBelow(instance, index) === page) return page;
    }
  }

  stateOf(instance: InstanceState, index: number): PageState {
    if (instance.table(kind.data).get(index) !== 0) return "own";
    return instance.parent !== undefined && this.inherited(instance, index) !== 0 ? "shared" : "none";
  }

  /** The first index at or after `from` and before `end` at which an instance shows a page, or `end`. */
  next(instance: InstanceState, from: number, end: number): number {
    for (let index = from; index < end; index++) {
      index = this.#nextCandidate(instance, index, end);
      if (index < end && this.find(instance, index) !== 0) return index;
    }
    return end;
  }

  /** The first index at or after `from` and before `end` at which an instance shows no page, or `end`. */
  nextHole(instance: InstanceState, from: number, end: number): number {
    let index = from;
    while (index < end && this.find(instance, index) !== 0) index++;
    return index;
  }

  /** How many pages an instance shares with the layers below. */
  countShared(instance: InstanceState): number {
    let count = 0;
    if (instance.parent === undefined) return count;
    const own = instance.table(kind.data);
    for (let index = this.next(instance, 0, instance.limit); index < instance.limit; ) {
      if (own.get(index) === 0) count++;
      index = this.next(instance, index + 1, instance.limit);
    }
    return count;
  }

  /**
   * True when the mask of a layer says that the one below is not asked.
   *
   * @throws EBUSY in a reader when the writer has given the page of masks up
   */
  isMasked(layer: InstanceState, index: number): boolean {
    const { masksPerPage } = this.#core.shape;
    const table = Math.floor(index / masksPerPage);
    const page = layer.table(kind.table).get(table);
    if (page === 0) return false;
    const bit = index % masksPerPage;
    const offset = this.#core.shape.pageOffset(page) + 4 * (bit >>> 5);
    const word = this.#memory.readOnly ? this.#readMask(layer, table, page, offset) : this.#memory.load32(offset);
    return ((word >>> (bit & 31)) & 1) === 1;
  }

  // A reader reads with pread(2), and looks at the claim after it: the page may belong to somebody else by now.
  #readMask(layer: InstanceState, table: number, page: number, offset: number): number {
    const word = new Uint32Array(1);
    this.#memory.readInto(offset, new Uint8Array(word.buffer));
    const { index, claim } = readEntry(this.#memory, this.#core.shape, page);
    if (index === table && ownerOf(claim) === layer.owner && kindOf(claim) === kind.table) return word[0];
    throw new PerdureError("EBUSY", `the masks of "${layer.record.name}" were given up by the writer`, {
      remedy: "open the region again to see it as it is now",
    });
  }

  #lookBelow(instance: InstanceState, index: number): number {
    for (let layer = instance; ; ) {
      if (layer.parent === undefined || index >= layer.record.reach || this.isMasked(layer, index)) return 0;
      layer = layer.parent;
      if (index >= layer.limit) return 0;
      const page = layer.table(kind.data).get(index);
      if (page !== 0) return page;
    }
  }

  /** The first index at which one of the layers has a page, masked or not. */
  #nextCandidate(instance: InstanceState, from: number, end: number): number {
    let found = instance.table(kind.data).next(from, end);
    let bound = end;
    for (let layer = instance; layer.parent !== undefined; layer = layer.parent) {
      bound = Math.min(bound, layer.record.reach, layer.parent.limit);
      if (from >= bound) break;
      const below = layer.parent.table(kind.data).next(from, Math.min(bound, found));
      if (below < Math.min(bound, found)) found = below;
    }
    return found;
  }
}
