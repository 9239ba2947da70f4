import { withLock } from "./locks.ts";
import { SharedSlabs } from "./shared-slabs.ts";

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

/** Kinds have four bits. */
const KINDS = 16;
/** What stands where in the words that the threads of an arena share. */
const arenaWord = { lock: 0, end: 1, logged: 2 } as const;
const ARENA_WORDS = 3;
/** An entry of the log is four words: the key of a table, the number of a chunk, its first entry, and nothing. */
const LOG_ENTRY_BITS = 2;
const LOG_SLAB_WORDS: number = 2 ** 18;
/** Addresses set aside: for so many times as many entries as a region needs whose pages all lie far apart. */
const ROOM = 4;
const MIN_ROOM_ENTRIES = 2 ** 24;
/** The entries of an arena have numbers of 32 bits. */
const MAX_ROOM_ENTRIES: number = 2 ** 32 - SLAB_ENTRIES;

/** What a thread needs to use the page tables of another. */
export interface SharedArena {
  readonly words: SharedArrayBuffer;
  readonly entries: readonly SharedArrayBuffer[];
  readonly log: readonly SharedArrayBuffer[];
}

/**
 * Where the chunks of all page tables of a region come from: one array of entries, cut into slabs. A chunk is named by
 * its first entry. The chunk at 0 is given to nobody and stays zero: it stands for every chunk that was never made.
 * As long as one thread has the region alone, chunks that fell empty are found again when the arena has become long:
 * who goes on and on to higher indices, and frees those behind, does not need more and more of them.
 *
 * Each thread finds chunks by an index of its own. From `share()` on every chunk is written to a log before anything
 * stands in it; a chunk never moves, so a thread reads on in the log only when it looks for one that it does not know.
 *
 *     entries   0 0 0 ... | chunk | chunk | ...
 *     log       (table, number of the chunk, first entry) ...
 */
export class ChunkArena {
  readonly slabs: Uint32Array[];
  readonly #entries: SharedSlabs;
  readonly #words: Uint32Array;
  readonly #lock: Int32Array;
  readonly #log: SharedSlabs;
  readonly #thread: number;
  readonly #tables = new Map<number, PageTable>();
  /** Chunks of zeroes that no table has any longer. */
  readonly #unused: number[] = [];
  /** When the arena is so long its tables are looked through for chunks of zeroes. */
  #sweepAt: number = SLAB_ENTRIES;
  #isShared = false;
  /** Entries of the log that this thread has read. */
  #seen = 0;

  /** `pages` is how many pages the region has: about so many entries will be used. */
  constructor(pages: number, shared?: SharedArena, thread = 1) {
    this.#thread = thread;
    const { words, entries, log } = shared ?? makeArena(pages);
    this.#words = new Uint32Array(words);
    this.#lock = new Int32Array(words);
    this.#entries = new SharedSlabs(entries, SLAB_ENTRIES);
    this.#log = new SharedSlabs(log, LOG_SLAB_WORDS);
    this.slabs = this.#entries.slabs;
    this.#isShared = shared !== undefined;
  }

  /** The page table of an owner and kind: the same one whenever it is asked for. */
  table(owner: number, kindNumber: number): PageTable {
    const key = owner * KINDS + kindNumber;
    let table = this.#tables.get(key);
    if (table === undefined) {
      table = new PageTable(this, key);
      this.#tables.set(key, table);
    }
    return table;
  }

  /** Forgets the page tables of an owner that is gone: its number is not given out again. */
  forget(owner: number): void {
    for (let kindNumber = 0; kindNumber < KINDS; kindNumber++) {
      const key = owner * KINDS + kindNumber;
      const table = this.#tables.get(key);
      if (table === undefined) continue;
      if (!this.#isShared) for (const start of table.giveBackAll()) this.#unused.push(start);
      this.#tables.delete(key);
    }
  }

  /** From now on other threads may use these tables, too. */
  share(): SharedArena {
    if (!this.#isShared) {
      this.#isShared = true;
      for (const [key, table] of this.#tables) {
        for (const [chunk, start] of table.chunks()) this.#append(key, chunk, start);
      }
    }
    return { words: this.#lock.buffer as SharedArrayBuffer, entries: this.#entries.buffers, log: this.#log.buffers };
  }

  /** Makes a chunk of a table, unless another thread has done so meanwhile. @returns its first entry */
  make(table: PageTable, chunk: number): number {
    if (!this.#isShared) return table.add(chunk, this.#take());
    return withLock(this.#lock, arenaWord.lock, this.#thread, () => {
      this.catchUp();
      const present = table.startOf(chunk);
      if (present !== 0) return present;
      const start = this.#take();
      this.#append(table.key, chunk, start);
      return table.add(chunk, start);
    });
  }

  /** Learns of the chunks that other threads have made. @returns false when there were none */
  catchUp(): boolean {
    // A plain load: whoever waits for what another thread did has synchronized with it by a lock before.
    const end = this.#words[arenaWord.logged];
    if (end === this.#seen) return false;
    this.#log.catchUp();
    this.#entries.catchUp();
    for (; this.#seen < end; this.#seen++) {
      const { slab, at } = this.#entryOfLog(this.#seen);
      const key = slab[at];
      this.table(Math.floor(key / KINDS), key % KINDS).add(slab[at + 1], slab[at + 2]);
    }
    return true;
  }

  /** @returns the first entry of a fresh chunk of zeroes */
  #take(): number {
    if (this.#unused.length === 0 && !this.#isShared && this.#words[arenaWord.end] >= this.#sweepAt) this.#sweep();
    const unused = this.#unused.pop();
    if (unused !== undefined) return unused;
    const start = this.#words[arenaWord.end];
    if (start >= this.#entries.length) this.#entries.catchUp();
    if (start === this.#entries.length) this.#entries.grow();
    this.#words[arenaWord.end] = start + CHUNK_ENTRIES;
    return start;
  }

  // Every chunk that is not empty holds a page, so the arena never becomes longer than twice what all pages may need.
  #sweep(): void {
    for (const table of this.#tables.values()) for (const start of table.giveBackEmpty()) this.#unused.push(start);
    const end = this.#words[arenaWord.end];
    if (2 * CHUNK_ENTRIES * this.#unused.length < end) this.#sweepAt = 2 * end;
  }

  // The entry first, then the count, so that no thread reads what is not there yet.
  #append(key: number, chunk: number, start: number): void {
    if (2 ** LOG_ENTRY_BITS * this.#seen >= this.#log.length) this.#log.catchUp();
    if (2 ** LOG_ENTRY_BITS * this.#seen === this.#log.length) this.#log.grow();
    const { slab, at } = this.#entryOfLog(this.#seen);
    slab[at] = key;
    slab[at + 1] = chunk;
    slab[at + 2] = start;
    this.#seen++;
    Atomics.store(this.#words, arenaWord.logged, this.#seen);
  }

  #entryOfLog(entry: number): { slab: Uint32Array; at: number } {
    const at = entry * 2 ** LOG_ENTRY_BITS;
    return { slab: this.#log.slabs[Math.floor(at / LOG_SLAB_WORDS)], at: at % LOG_SLAB_WORDS };
  }
}

function makeArena(pages: number): SharedArena {
  const wanted = 2 ** Math.ceil(Math.log2(2 * pages));
  const first = Math.max(MIN_SLAB_ENTRIES, Math.min(SLAB_ENTRIES, wanted));
  const most = Math.min(MAX_ROOM_ENTRIES, Math.max(MIN_ROOM_ENTRIES, ROOM * pages * CHUNK_ENTRIES));
  const words = new Uint32Array(new SharedArrayBuffer(4 * ARENA_WORDS));
  // The chunk of zeroes.
  words[arenaWord.end] = CHUNK_ENTRIES;
  return {
    words: words.buffer,
    entries: SharedSlabs.make(first, most),
    log: SharedSlabs.make(0, (most / CHUNK_ENTRIES) * 2 ** LOG_ENTRY_BITS),
  };
}

/**
 * Which page stands at an index: page numbers in chunks of 64, made when touched, 0 for none. A dense instance finds
 * its chunks through an array, what is far from the rest is found through a map: so an instance pays for what it holds
 * and not for its size, and no image can make it pay more than some hundred bytes a page.
 */
export class PageTable {
  /** What the log of the arena calls it. */
  readonly key: number;
  readonly #arena: ChunkArena;
  /** First entry of each chunk by number, 0 where there is none. */
  #near = new Uint32Array(0);
  readonly #far = new Map<number, number>();
  /** Numbers of the far chunks in order; undefined when they have to be sorted again. */
  #farOrder: number[] | undefined;
  #chunks = 0;

  /** Use `ChunkArena.table`: what it does not know other threads do not see. */
  constructor(arena: ChunkArena, key: number) {
    this.#arena = arena;
    this.key = key;
  }

  /** @returns the page at the index, or 0 */
  get(index: number): number {
    const start = this.startOf(chunkOf(index)) || this.#find(chunkOf(index));
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
    return this.#arena.make(this, chunk);
  }

  /** Files a chunk. For the arena. @returns its first entry */
  add(chunk: number, start: number): number {
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

  /** Number and first entry of every chunk that this thread knows. */
  *chunks(): Generator<[chunk: number, start: number], void, undefined> {
    for (let chunk = 0; chunk < this.#near.length; chunk++) {
      if (this.#near[chunk] !== 0) yield [chunk, this.#near[chunk]];
    }
    yield* this.#far;
  }

  /** Lets go of all chunks, emptied, for the arena. No other thread knows them. @returns their first entries */
  *giveBackAll(): Generator<number, void, undefined> {
    for (const [chunk, start] of this.chunks()) {
      this.#entriesOf(start).fill(0);
      this.#remove(chunk);
      yield start;
    }
  }

  /** As `giveBackAll`, for those that are empty. */
  *giveBackEmpty(): Generator<number, void, undefined> {
    for (const [chunk, start] of this.chunks()) {
      if (this.#entriesOf(start).some((page) => page !== 0)) continue;
      this.#remove(chunk);
      yield start;
    }
  }

  #entriesOf(start: number): Uint32Array {
    const first = start & slabMask;
    return this.#arena.slabs[slabOf(start)].subarray(first, first + CHUNK_ENTRIES);
  }

  #remove(chunk: number): void {
    this.#chunks--;
    this.#farOrder = undefined;
    if (chunk < this.#near.length) this.#near[chunk] = 0;
    else this.#far.delete(chunk);
  }

  /** Looks for a chunk that another thread may have made. */
  #find(chunk: number): number {
    return this.#arena.catchUp() ? this.startOf(chunk) : 0;
  }

  /** The first index at or after `from` and before `end` that has a page, or `end`. */
  next(from: number, end: number): number {
    this.#arena.catchUp();
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

  /** Empties the indices from `from` to below `end`. @returns the pages that stood there, in order */
  takeOut(from: number, end: number): number[] {
    const taken: number[] = [];
    for (const index of this.indices(from, end)) {
      taken.push(this.get(index));
      this.set(index, 0);
    }
    return taken;
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
