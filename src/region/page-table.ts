const CHUNK_BITS = 10;
const CHUNK_ENTRIES = 2 ** CHUNK_BITS;
/** A slab is 4 MiB, the first one as small as the region: few are needed, and one more is no burden. */
const SLAB_BITS = 20;
const SLAB_ENTRIES = 2 ** SLAB_BITS;
const MIN_SLAB_ENTRIES = 2 ** 14;
/** Chunks up to this number are found through an array, those of huge sparse instances beyond it through a map. */
const NEAR_CHUNKS = 2 ** 16;

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
 * Which page stands at an index: page numbers in chunks of 1024, made when touched, 0 for none. So a sparse instance
 * pays for what it holds and not for its size.
 */
export class PageTable {
  readonly #arena: ChunkArena;
  /** First entry of each chunk by number, 0 where there is none. */
  #near = new Uint32Array(0);
  readonly #far = new Map<number, number>();
  /** Chunk numbers end here. */
  #end = 0;

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
    if (chunk < this.#near.length) return this.#near[chunk];
    return chunk < NEAR_CHUNKS ? 0 : (this.#far.get(chunk) ?? 0);
  }

  makeChunk(chunk: number): number {
    const start = this.#arena.take();
    this.#end = Math.max(this.#end, chunk + 1);
    if (chunk >= NEAR_CHUNKS) this.#far.set(chunk, start);
    else {
      if (chunk >= this.#near.length) this.#growNear(chunk + 1);
      this.#near[chunk] = start;
    }
    return start;
  }

  /** The first index at or after `from` and before `end` that has a page, or `end`. */
  next(from: number, end: number): number {
    for (let index = from; index < end; ) {
      const chunk = chunkOf(index);
      if (chunk >= this.#end) return end;
      const start = this.startOf(chunk);
      const chunkEnd = Math.min(end, (chunk + 1) * CHUNK_ENTRIES);
      if (start !== 0) {
        const slab = this.#arena.slabs[slabOf(start)];
        const first = start & slabMask;
        for (; index < chunkEnd; index++) if (slab[first + (index & chunkMask)] !== 0) return index;
      }
      index = chunkEnd;
    }
    return end;
  }

  /** The first index at or after `from` and before `end` that has no page, or `end`. */
  nextHole(from: number, end: number): number {
    let index = from;
    while (index < end && this.get(index) !== 0) index++;
    return index;
  }

  #growNear(length: number): void {
    const grown = new Uint32Array(Math.min(NEAR_CHUNKS, Math.max(16, 2 * this.#near.length, length)));
    grown.set(this.#near);
    this.#near = grown;
  }
}
