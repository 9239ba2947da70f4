import type { Memory } from "../memory/index.ts";
import { kind, kindOf, ownerOf } from "./claim.ts";
import type { RegionCore } from "./core.ts";
import { readEntry } from "./frame-table.ts";
import type { InstanceState } from "./instance-state.ts";
import { maskOf, readMask } from "./masks.ts";

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
   *
   * One pass from the bottom up, in each layer its mask before its claim: a merge moves a page, and then a mask, from a
   * layer to the one above, so this meets it before or after the move. It counts unless a layer on the way has ended.
   *
   * @throws ENOENT when the instance itself has ended meanwhile
   */
  inherited(instance: InstanceState, index: number): number {
    for (;;) {
      const layers = layersBelow(instance, index);
      const page = this.#lookThrough(layers, index);
      this.#core.catchUp();
      if (instance.isEnded) instance.refuseDeleted();
      if (!layers.some(({ isEnded }) => isEnded)) return page;
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

  /** True when the mask of a layer of a writer says that the one below is not asked. */
  isMasked(layer: InstanceState, index: number): boolean {
    const { masksPerPage } = this.#core.shape;
    const table = Math.floor(index / masksPerPage);
    const masks = layer.table(kind.table);
    for (let page = masks.get(table); page !== 0; page = masks.get(table)) {
      const isSet = readMask(this.#memory, this.#core.shape, page, maskOf(index, masksPerPage));
      // A page that is no page of masks any longer was given to the layer above, with all that it says, or is gone.
      if (this.#isMaskPage(page, table)) return isSet;
      if (masks.get(table) === page) return false;
    }
    return false;
  }

  // The claim first: what it says was stored together with its index, so an older index does not go with it.
  #isMaskPage(page: number, table: number): boolean {
    const offset = this.#core.shape.entryOffset(page);
    return kindOf(this.#memory.load32(offset + 4)) === kind.table && this.#memory.load32(offset) === table;
  }

  /**
   * As `isMasked`, for a reader, who knows where the masks of the layer at `at` stood when it opened. They count as
   * long as they belong to it or to a layer above, to which a merge hands them. What is withdrawn may have been laid
   * over other masks, which this reader does not know of; without them trimmed data would come back.
   *
   * @throws EBUSY when they are withdrawn
   */
  #isMaskedBeside(layers: readonly InstanceState[], at: number, index: number): boolean {
    const { shape } = this.#core;
    const table = Math.floor(index / shape.masksPerPage);
    const page = layers[at].table(kind.table).get(table);
    if (page === 0) return false;
    const isSet = readMask(this.#memory, shape, page, maskOf(index, shape.masksPerPage));
    const now = readEntry(this.#memory, shape, page);
    const isTheirs = layers.slice(0, at + 1).some(({ owner }) => owner === ownerOf(now.claim));
    if (isTheirs && kindOf(now.claim) === kind.table && now.index === table) return isSet;
    throw this.#core.replaced(index);
  }

  /** `layers` are the instance and those below it that it can see, from the top down. */
  #lookThrough(layers: readonly InstanceState[], index: number): number {
    let page = 0;
    for (let k = layers.length - 1; k >= 0; k--) {
      if (page !== 0 && this.#hides(layers, k, index)) page = 0;
      if (k > 0) page = layers[k].table(kind.data).get(index) || page;
    }
    return page;
  }

  #hides(layers: readonly InstanceState[], at: number, index: number): boolean {
    return this.#memory.readOnly ? this.#isMaskedBeside(layers, at, index) : this.isMasked(layers[at], index);
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

/** The instance and the layers below it that are asked for an index, from the top down. */
function layersBelow(instance: InstanceState, index: number): InstanceState[] {
  const layers = [instance];
  for (let layer = instance; layer.parent !== undefined && index < layer.record.reach; ) {
    layer = layer.parent;
    if (index >= layer.limit) break;
    layers.push(layer);
  }
  return layers;
}
