const CHUNK_BITS = 10;
const CHUNK_ENTRIES = 2 ** CHUNK_BITS;
const CHUNK_MASK = CHUNK_ENTRIES - 1;
/** Chunks are cut from slabs of this many, so that a large table costs few buffers. */
const SLAB_CHUNKS = 64;

/** Where the chunks of all page tables of a region come from. */
export class ChunkArena {
  #slab = new SharedArrayBuffer(0);
  #used = 0;

  take(): Uint32Array {
    if (this.#used === this.#slab.byteLength) {
      this.#slab = new SharedArrayBuffer(SLAB_CHUNKS * CHUNK_ENTRIES * 4);
      this.#used = 0;
    }
    const chunk = new Uint32Array(this.#slab, this.#used, CHUNK_ENTRIES);
    this.#used += CHUNK_ENTRIES * 4;
    return chunk;
  }
}

/**
 * Which page stands at an index: page numbers in chunks of 1024, made when touched, 0 for none. So a sparse instance
 * pays for what it holds and not for its size.
 */
export class PageTable {
  readonly #arena: ChunkArena;
  readonly #chunks: (Uint32Array | undefined)[] = [];

  constructor(arena: ChunkArena) {
    this.#arena = arena;
  }

  /** @returns the page at the index, or 0 */
  get(index: number): number {
    const chunk = this.#chunks[index >>> CHUNK_BITS];
    return chunk === undefined ? 0 : chunk[index & CHUNK_MASK];
  }

  set(index: number, page: number): void {
    this.chunkAt(index)[index & CHUNK_MASK] = page;
  }

  /** The chunk that holds an index, for loops over many indices of one chunk. */
  chunkAt(index: number): Uint32Array {
    const number = index >>> CHUNK_BITS;
    let chunk = this.#chunks[number];
    if (chunk === undefined) {
      chunk = this.#arena.take();
      this.#chunks[number] = chunk;
    }
    return chunk;
  }

  /** The first index at or after `from` and before `end` that has a page, or `end`. */
  next(from: number, end: number): number {
    for (let index = from; index < end; ) {
      const number = index >>> CHUNK_BITS;
      if (number >= this.#chunks.length) return end;
      const chunk = this.#chunks[number];
      const chunkEnd = Math.min(end, (number + 1) * CHUNK_ENTRIES);
      if (chunk !== undefined) {
        for (; index < chunkEnd; index++) if (chunk[index & CHUNK_MASK] !== 0) return index;
      }
      index = chunkEnd;
    }
    return end;
  }

  /** The first index at or after `from` and before `end` that has no page, or `end`. */
  nextHole(from: number, end: number): number {
    for (let index = from; index < end; index++) if (this.get(index) === 0) return index;
    return end;
  }
}

export const chunkMask: number = CHUNK_MASK;
