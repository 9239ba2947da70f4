import { assert } from "../base/index.ts";
import type { Memory, Space } from "../memory/index.ts";
import type { FreePages } from "./free-pages.ts";
import { entryBytes, type Shape, sealBytes } from "./geometry.ts";
import { compatibleFeatures, type Geometry } from "./layout.ts";
import { withLock } from "./locks.ts";

/** A word for each chunk. */
const HOLE = 0;
const BACKED = 1;
/**
 * Chunks that stay backed beyond the one that falls empty: so many pages must be taken before one is allocated again,
 * so a busy chunk is not allocated and given back in turns.
 */
const SPARE_CHUNKS = 2;

/** True when the backing of a region is allocated chunk by chunk. */
export function isThin(geometry: Pick<Geometry, "compatible">): boolean {
  return (geometry.compatible & compatibleFeatures.thin) !== 0;
}

/** Allocates the metadata of a fresh thin region, whose mark is at `mark`. @throws ENOSPC */
export function allocateMetadata(space: Space, shape: Shape, mark: number): void {
  const { pageBytes, tableOffset, checksumsOffset, checksums, lastPage } = shape;
  space.allocate(0, tableOffset);
  allocateEntries(space, shape, 0, mark);
  space.allocate(checksumsOffset, 4 * checksums);
  space.allocate(shape.pageOffset(lastPage), pageBytes);
}

/** Allocates the entries of pages, and their seals. @throws ENOSPC */
function allocateEntries(space: Space, shape: Shape, from: number, end: number): void {
  space.allocate(shape.entryOffset(from), (end - from) * entryBytes);
  if (shape.hasSeals) space.allocate(shape.sealOffset(from), (end - from) * sealBytes);
}

/**
 * The chunks of a thin region. A chunk is backed, and its free pages stand in the bitmap; or it is a hole, and all its
 * pages are free and stand nowhere, so nobody can be given one.
 *
 *     hole  --grow: fallocate, then its pages into the bitmap-->  backed
 *     hole  <--all its pages out of the bitmap, then punched----  backed
 *
 * Nothing of this is on media but a feature bit. Opening makes sure of every chunk with a claim and punches the others:
 * a kill leaves no more than a chunk that is backed and free. Metadata are no part of a chunk: they are allocated when
 * they come into use, and stay.
 */
export class ThinChunks {
  readonly #shape: Shape;
  readonly #space: Space;
  readonly #freePages: FreePages;
  readonly #thread: number;
  /** Pages of a chunk. */
  readonly #length: number;
  readonly #states: Int32Array;
  readonly #lock: Int32Array = new Int32Array(new SharedArrayBuffer(4));
  /** How many backed pages may be free before a chunk that is all free is given back. */
  readonly #keep: number;
  /** Pages from here on have no entries yet. */
  #mark: number;
  /** No chunk before this one is a hole with pages below the mark. */
  #lowest = 0;
  #holePages = 0;

  /**
   * Makes sure of all metadata and of every chunk with a claim, so that recovery may store to them.
   *
   * @throws ENOSPC for a file whose holes hold claimed pages: somebody copied it without them
   */
  constructor(
    memory: Memory,
    shape: Shape,
    freePages: FreePages,
    use: { mark: number; reserve: number; thread: number },
  ) {
    assert(memory.space !== undefined, "a thin region is on a backing with holes");
    this.#space = memory.space;
    this.#shape = shape;
    this.#freePages = freePages;
    this.#thread = use.thread;
    this.#mark = use.mark;
    this.#length = Math.max(1, this.#space.chunkBytes / shape.pageBytes);
    this.#keep = use.reserve + (1 + SPARE_CHUNKS) * this.#length;
    this.#states = new Int32Array(new SharedArrayBuffer(4 * Math.ceil(shape.pages / this.#length)));
    allocateMetadata(this.#space, shape, use.mark);
    this.#backClaimed();
  }

  /** Free pages that stand in no bitmap, since they have no memory. */
  get holePages(): number {
    return this.#holePages;
  }

  /** Ends the opening: withdrawals are durable, so what no claim needs is punched. From now on this goes by itself. */
  start(): void {
    this.giveBackAll();
    this.#freePages.onRelease = (page) => this.#released(page);
  }

  // ---- allocating ------------------------------------------------------------------------------------------

  /** Backs the lowest chunk that is a hole. @returns false when there is none below the mark. @throws ENOSPC */
  grow(): boolean {
    return this.#locked(() => {
      for (; this.#lowest < this.#states.length; this.#lowest++) {
        if (this.#states[this.#lowest] === HOLE && this.#usable(this.#lowest) > 0) {
          this.#back(this.#lowest);
          return true;
        }
        if (this.#first(this.#lowest) >= this.#mark) break;
      }
      return false;
    });
  }

  /** Backs what an aligned run of `length` pages lacks. @returns false when no run has all its pages free */
  growRun(length: number): boolean {
    const step = Math.max(length, this.#length);
    return this.#locked(() => {
      for (let start = 0; start < this.#mark; start += step) {
        const first = Math.ceil(Math.max(start, this.#shape.firstPage) / length) * length;
        const end = first + length;
        if (end > Math.min(start + step, this.#mark, this.#shape.lastPage)) continue;
        const chunks = this.#chunksOf(first, end);
        const holes = chunks.filter((chunk) => this.#states[chunk] === HOLE);
        const rest = chunks.filter((chunk) => this.#states[chunk] === BACKED);
        if (holes.length === 0 || !rest.every((chunk) => this.#isFree(chunk, first, end))) continue;
        for (const chunk of holes) this.#back(chunk);
        return true;
      }
      return false;
    });
  }

  /** Allocates the entries of pages that are to come below the mark. @throws ENOSPC */
  allocateEntries(from: number, end: number): void {
    allocateEntries(this.#space, this.#shape, from, end);
  }

  /** The mark was raised: its pages are free, and mostly holes. */
  raised(end: number): void {
    this.#locked(() => {
      const from = this.#mark;
      this.#mark = end;
      for (const chunk of this.#chunksOf(from, end)) {
        const first = Math.max(from, this.#first(chunk));
        const last = Math.min(end, this.#end(chunk));
        if (last <= first) continue;
        if (this.#states[chunk] === BACKED) this.#freePages.releaseAll(first, last);
        else this.#holePages += last - first;
      }
    });
  }

  // ---- giving back -----------------------------------------------------------------------------------------

  /** Gives every chunk back that is all free, neighbours in one call. */
  giveBackAll(): void {
    for (let from = 0; from < this.#states.length; from++) {
      let to = from;
      while (to < this.#states.length && this.#isIdle(to)) to++;
      if (to === from) continue;
      this.#giveBack(from, to);
      from = to;
    }
  }

  // Rule 2: whoever releases a page has made its withdrawal durable.
  #released(page: number): void {
    if (this.#freePages.count < this.#keep) return;
    const chunk = Math.floor(page / this.#length);
    if (this.#isIdle(chunk)) this.#giveBack(chunk, chunk + 1);
  }

  /** Only who holds all pages of a chunk may punch it: nobody else can be given one meanwhile. */
  #giveBack(from: number, to: number): void {
    const first = this.#first(from);
    const end = Math.max(first, Math.min(this.#end(to - 1), this.#mark));
    const offset = this.#shape.pageOffset(first);
    const lengthBytes = this.#shape.pageOffset(this.#end(to - 1)) - offset;
    if (lengthBytes === 0) return;
    this.#locked(() => {
      if (!this.#freePages.takeAll(first, end)) return;
      try {
        this.#space.punch(offset, lengthBytes);
      } catch {
        // Memory that stays allocated is no failure of what was released.
        this.#freePages.releaseAll(first, end);
        return;
      }
      this.#states.fill(HOLE, from, to);
      this.#holePages += end - first;
      this.#lowest = Math.min(this.#lowest, from);
    });
  }

  // ---- steps -----------------------------------------------------------------------------------------------

  /** Where data ends is asked once for each stretch of it. */
  #backClaimed(): void {
    let dataEnd = 0;
    for (let chunk = 0; chunk < this.#states.length; chunk++) {
      // Those without a claim count as backed until `start` gives them back.
      this.#states[chunk] = BACKED;
      if (this.#isIdle(chunk)) continue;
      const offset = this.#shape.pageOffset(this.#first(chunk));
      const end = offset + this.#bytes(chunk);
      if (end > dataEnd) dataEnd = this.#space.nextHole(offset);
      if (end > dataEnd) this.#space.allocate(offset, end - offset);
    }
  }

  #back(chunk: number): void {
    const first = this.#first(chunk);
    this.#space.allocate(this.#shape.pageOffset(first), this.#bytes(chunk));
    this.#states[chunk] = BACKED;
    this.#holePages -= this.#usable(chunk);
    this.#freePages.releaseAll(first, first + this.#usable(chunk));
  }

  /** Backed and all free, as far as it can be told without holding its pages. */
  #isIdle(chunk: number): boolean {
    const first = this.#first(chunk);
    return this.#states[chunk] === BACKED && this.#freePages.areFree(first, first + this.#usable(chunk));
  }

  #isFree(chunk: number, first: number, end: number): boolean {
    return this.#freePages.areFree(Math.max(first, this.#first(chunk)), Math.min(end, this.#end(chunk)));
  }

  #chunksOf(first: number, end: number): number[] {
    const start = Math.floor(first / this.#length);
    return Array.from({ length: Math.ceil(end / this.#length) - start }, (_, k) => start + k);
  }

  /** First page of a chunk that is not metadata. */
  #first(chunk: number): number {
    return Math.max(chunk * this.#length, this.#shape.firstPage);
  }

  /** The page behind its last one. */
  #end(chunk: number): number {
    return Math.max(this.#first(chunk), Math.min((chunk + 1) * this.#length, this.#shape.lastPage));
  }

  #usable(chunk: number): number {
    return Math.max(0, Math.min(this.#end(chunk), this.#mark) - this.#first(chunk));
  }

  #bytes(chunk: number): number {
    return (this.#end(chunk) - this.#first(chunk)) * this.#shape.pageBytes;
  }

  #locked<T>(act: () => T): T {
    return withLock(this.#lock, 0, this.#thread, act);
  }
}
