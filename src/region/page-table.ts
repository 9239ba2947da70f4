import { assert } from "../base/index.ts";

const CHUNK_BITS = 6;
const CHUNK_ENTRIES = 2 ** CHUNK_BITS;
/** A slab is 4 MiB, the first one as small as the region: few are needed, and one more is no burden. */
const SLAB_BITS = 20;
const SLAB_ENTRIES = 2 ** SLAB_BITS;
const MIN_SLAB_ENTRIES = 2 ** 14;
/** The array of near chunks may have this many times as many places as there are chunks. */
const NEAR_SPARSENESS = 4;
const MIN_NEAR_CHUNKS = 1024;

/** The place of an index in its chunk. */
export const chunkMask: number = CHUNK_ENTRIES - 1;
/** The place of a chunk in its slab. */
export const slabMask: number = SLAB_ENTRIES - 1;
/** The number of the chunk that holds an index. */
export const chunkOf = (index: number): number => index >>> CHUNK_BITS;
/** The number of the slab that holds a chunk which starts at an entry of the arena. */
export const slabOf = (start: number): number => start >>> SLAB_BITS;

/**
 * Where the chunks of all page tables of a region come from: one array of entries, cut into slabs. A chunk is named by
 * its first entry. The chunk at 0 is given to nobody and stays zero: it stands for every chunk that was never made.
 */
export class ChunkArena {
  readonly slabs: Uint32Array[] = [];
  #end = 0;

  /** `pages` is how many pages the region has: about so many entries will be used. */
  constructor(pages: number) {
    const wanted = 2 ** Math.ceil(Math.log2(2 * pages));
    this.#addSlab(Math.max(MIN_SLAB_ENTRIES, Math.min(SLAB_ENTRIES, wanted)));
    this.take();
  }

  /** @returns the first entry of a fresh chunk of zeroes */
  take(): number {
    const last = this.slabs.length - 1;
    if (this.#end === last * SLAB_ENTRIES + this.slabs[last].length) {
      this.#end = this.slabs.length * SLAB_ENTRIES;
      assert(this.#end < 2 ** 32, "the entries of an arena have numbers of 32 bits");
      this.#addSlab(SLAB_ENTRIES);
    }
    const start = this.#end;
    this.#end += CHUNK_ENTRIES;
    return start;
  }

  #addSlab(entries: number): void {
    this.slabs.push(new Uint32Array(new SharedArrayBuffer(4 * entries)));
  }
}

/**
 * Which page stands at an index: page numbers in chunks of 64, made when touched, 0 for none. A dense instance finds
 * its chunks through an array, what is far from the rest is found through a map: so an instance pays for what it holds
 * and not for its size, and no image can make it pay more than some hundred bytes a page.
 */
export class PageTable {
  readonly #arena: ChunkArena;
  /** First entry of each chunk by number, 0 where there is none. */
  #near = new Uint32Array(0);
  readonly #far = new Map<number, number>();
  /** Numbers of the far chunks in order; undefined when they have to be sorted again. */
  #farOrder: number[] | undefined;
  #chunks = 0;

  constructor(arena: ChunkArena) {
    this.#arena = arena;
  }

  /** @returns the page at the index, or 0 */
  get(index: number): number {
    const start = this.startOf(chunkOf(index));
    return this.#arena.slabs[slabOf(start)][(start & slabMask) + (index & chunkMask)];
  }

  set(index: number, page: number): void {
    const start = this.startOf(chunkOf(index)) || this.makeChunk(chunkOf(index));
    this.#arena.slabs[slabOf(start)][(start & slabMask) + (index & chunkMask)] = page;
  }

  /** First entry of a chunk in the arena; 0, the chunk of zeroes, when it was never made. */
  startOf(chunk: number): number {
    return chunk < this.#near.length ? this.#near[chunk] : (this.#far.get(chunk) ?? 0);
  }

  makeChunk(chunk: number): number {
    const start = this.#arena.take();
    this.#chunks++;
    if (chunk >= this.#near.length && chunk < Math.max(MIN_NEAR_CHUNKS, NEAR_SPARSENESS * this.#chunks)) {
      this.#growNear();
    }
    if (chunk < this.#near.length) this.#near[chunk] = start;
    else {
      this.#far.set(chunk, start);
      this.#farOrder = undefined;
    }
    return start;
  }

  /** The first index at or after `from` and before `end` that has a page, or `end`. */
  next(from: number, end: number): number {
    for (let index = from; index < end; ) {
      const start = this.startOf(chunkOf(index));
      if (start === 0) {
        index = this.#nextChunk(chunkOf(index) + 1) * CHUNK_ENTRIES;
        continue;
      }
      const slab = this.#arena.slabs[slabOf(start)];
      const first = start & slabMask;
      const chunkEnd = Math.min(end, (chunkOf(index) + 1) * CHUNK_ENTRIES);
      for (; index < chunkEnd; index++) if (slab[first + (index & chunkMask)] !== 0) return index;
    }
    return end;
  }

  /** The indices from `from` to below `end` that have a page, in order; the one at hand may be cleared meanwhile. */
  *indices(from: number, end: number): Generator<number, void, undefined> {
    for (let index = this.next(from, end); index < end; index = this.next(index + 1, end)) yield index;
  }

  /** The first index at or after `from` and before `end` that has no page, or `end`. */
  nextHole(from: number, end: number): number {
    let index = from;
    while (index < end && this.get(index) !== 0) index++;
    return index;
  }

  /** Number of the first chunk from `from` on that was made, or Infinity. */
  #nextChunk(from: number): number {
    for (let chunk = from; chunk < this.#near.length; chunk++) if (this.#near[chunk] !== 0) return chunk;
    this.#farOrder ??= [...this.#far.keys()].sort((a, b) => a - b);
    let low = 0;
    let high = this.#farOrder.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#farOrder[middle] < from) low = middle + 1;
      else high = middle;
    }
    return this.#farOrder[low] ?? Number.POSITIVE_INFINITY;
  }

  /** Doubles the array of near chunks, and takes in those that were far. */
  #growNear(): void {
    const length = Math.max(MIN_NEAR_CHUNKS, 2 * NEAR_SPARSENESS * this.#chunks);
    const grown = new Uint32Array(length);
    grown.set(this.#near);
    for (const [chunk, start] of this.#far) {
      if (chunk >= length) continue;
      grown[chunk] = start;
      this.#far.delete(chunk);
    }
    this.#near = grown;
    this.#farOrder = undefined;
  }
}
