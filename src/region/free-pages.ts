import { assert } from "../base/index.ts";
import type { Senders } from "./senders.ts";
import { maxThreads } from "./thread-table.ts";

const ALL_ONES = -1;
/** Each thread's count has a line of the processor's cache to itself: neighbours would take it from each other. */
const COUNT_STRIDE = 8;
/** Beside the count of the first thread: the highest number that a thread ever had. */
const HIGHEST = 1;
/** Stamps of pages, by page number modulo this many. */
const STAMPS = 4096;
const STAMP_THREAD_BITS = 6;

/** Whenever a thread holds so many more pages back, it looks whether they can be given out. */
const HELD_PAGES = 64;

/** What a thread needs to use the free pages of another. */
export interface SharedFreePages {
  readonly words: SharedArrayBuffer;
  readonly summary: SharedArrayBuffer;
  readonly counts: SharedArrayBuffer;
  readonly stamps: SharedArrayBuffer;
}

/**
 * Which pages are free: one bit a page, and above it one bit for every word that has any. Shared by the threads of the
 * writer, never on media.
 *
 *     summary   1  0  1 ...            bit w: word w has a free page
 *     words     ..1.  0000  1111 ...   bit p: page p is free
 *
 * A page is taken by clearing its bit with Atomics.and, so two threads never get the same one; what is looked at before
 * may be old and is read plainly (an Atomics call costs 7 ns). The summary is a hint: it may say "some" for a word that
 * was just emptied, never "none" for one that has a page.
 */
export class FreePages {
  readonly #words: Int32Array;
  readonly #summary: Int32Array;
  /**
   * Free pages, counted by each thread in a word of its own: the sum is right, and counting is a plain addition (an
   * atomic one costs 11 ns).
   */
  readonly #counts: Float64Array;
  /** See `stampOf`. */
  readonly #stamps: Int32Array;
  /** Where this thread counts. */
  readonly #own: number;
  #stamp: number;

  /** Keeps pages back that the kernel may still be copying to somebody. */
  senders: Senders | undefined = undefined;
  /** Told of each page that is released one by one. */
  onRelease: ((page: number) => void) | undefined = undefined;

  constructor(pages: number, shared?: SharedFreePages, thread = 1) {
    const { words, summary, counts, stamps } = shared ?? makeShared(pages);
    this.#words = new Int32Array(words);
    this.#summary = new Int32Array(summary);
    this.#counts = new Float64Array(counts);
    this.#stamps = new Int32Array(stamps);
    this.#own = (thread - 1) * COUNT_STRIDE;
    this.#stamp = thread - 1;
    // Under the lock of the threads, as every attach.
    this.#counts[HIGHEST] = Math.max(this.#counts[HIGHEST], thread);
  }

  /** What another thread makes its own `FreePages` of. */
  share(): SharedFreePages {
    const bufferOf = (array: Int32Array | Float64Array): SharedArrayBuffer => array.buffer as SharedArrayBuffer;
    return {
      words: bufferOf(this.#words),
      summary: bufferOf(this.#summary),
      counts: bufferOf(this.#counts),
      stamps: bufferOf(this.#stamps),
    };
  }

  /** Free pages now. */
  get count(): number {
    let count = 0;
    const end = this.#counts[HIGHEST] * COUNT_STRIDE;
    for (let at = 0; at < end; at += COUNT_STRIDE) count += this.#counts[at];
    return count;
  }

  /**
   * A number that is another one after the page was released: so a thread that copies a page without a lock learns
   * whether it may have been given to somebody else meanwhile.
   */
  stampOf(page: number): number {
    return Atomics.load(this.#stamps, page & (STAMPS - 1));
  }

  has(page: number): boolean {
    return ((this.#words[page >>> 5] >>> (page & 31)) & 1) === 1;
  }

  /** Gives a page back. It must be persisted as FREE. It is free at once, or when nobody is sending it any more. */
  release(page: number): void {
    if (this.senders?.holdsBack(page) !== true) this.#give(page);
    // A thread that has no loop in which it looks again would keep them all.
    else if (this.senders.heldPages % HELD_PAGES === 0) this.settle();
  }

  /** Gives out what was held back and is not any longer. @returns how many pages */
  settle(): number {
    return this.senders === undefined ? 0 : this.senders.settle((page) => this.#give(page));
  }

  /** Waits a moment for pages that are held back. @returns false when there are none to wait for */
  waitForHeld(): boolean {
    return this.senders?.wait((page) => this.#give(page)) === true;
  }

  #give(page: number): void {
    // Before the bit: whoever takes the page has seen the bit. Stamps of two threads differ, so none is lost, and a
    // plain store will do.
    this.#stamp = (this.#stamp + 2 ** STAMP_THREAD_BITS) | 0;
    this.#stamps[page & (STAMPS - 1)] = this.#stamp;
    const before = Atomics.or(this.#words, page >>> 5, 1 << (page & 31));
    assert((before & (1 << (page & 31))) === 0, "a page is released once");
    if (before === 0) Atomics.or(this.#summary, page >>> 10, 1 << ((page >>> 5) & 31));
    this.#counts[this.#own]++;
    if (this.onRelease !== undefined) this.onRelease(page);
  }

  /** True when all pages from `first` to `end` are free. */
  areFree(first: number, end: number): boolean {
    for (let page = first; page < end; page = nextWord(page)) {
      const mask = maskOf(page, end);
      if ((this.#words[page >>> 5] & mask) !== mask) return false;
    }
    return true;
  }

  /** Takes all pages from `first` to `end`. @returns false, and none is taken, when one of them is not free */
  takeAll(first: number, end: number): boolean {
    for (let page = first; page < end; page = nextWord(page)) {
      if (this.#takeMask(page >>> 5, maskOf(page, end))) continue;
      // Another thread was quicker: put those before back.
      for (let back = first; back < page; back = nextWord(back)) this.#restore(back >>> 5, maskOf(back, page));
      return false;
    }
    this.#counts[this.#own] -= end - first;
    return true;
  }

  /** Gives all pages from `first` to `end`. Unlike `release` it tells nobody. */
  releaseAll(first: number, end: number): void {
    for (let page = first; page < end; page = nextWord(page)) this.#restore(page >>> 5, maskOf(page, end));
    this.#counts[this.#own] += end - first;
  }

  /** Sets 32 pages at once while the bitmap is built; no thread uses it yet. */
  releaseWord(word: number, bits: number): void {
    this.#words[word] |= bits;
    if (bits !== 0) this.#summary[word >>> 5] |= 1 << (word & 31);
  }

  /** Ends the building: counts what is free. */
  countBits(): void {
    let count = 0;
    for (const word of this.#words) count += bitsOf(word);
    this.#counts[this.#own] = count;
  }

  /** Takes the first free page at or after `from`, around the end. @returns its number, or -1 when none is free */
  take(from: number): number {
    const words = this.#words.length;
    let word = from >>> 5;
    if (word >= words) word = 0;
    for (let turns = 0; turns < 2; turns++) {
      for (word = this.#nextWord(word); word < words; word = this.#nextWord(word + 1)) {
        const page = this.#takeIn(word);
        if (page >= 0) return page;
      }
      word = 0;
    }
    return -1;
  }

  /** Takes 2^order free pages that stand on a multiple of 2^order. @returns the first, or -1 when there are none */
  takeRun(order: number): number {
    const length = 2 ** order;
    if (length < 32) return this.#takeShortRun(length);
    const step = length / 32;
    for (let word = 0; word + step <= this.#words.length; word += step) {
      if (this.#takeWords(word, step)) {
        this.#counts[this.#own] -= length;
        return word * 32;
      }
    }
    return -1;
  }

  #takeIn(word: number): number {
    for (let bits = this.#words[word]; bits !== 0; bits = this.#words[word]) {
      const bit = bits & -bits;
      const before = Atomics.and(this.#words, word, ~bit);
      if ((before & bit) === 0) continue;
      if (before === bit) this.#emptied(word);
      this.#counts[this.#own]--;
      return word * 32 + 31 - Math.clz32(bit);
    }
    return -1;
  }

  #takeShortRun(length: number): number {
    const mask = length === 1 ? 1 : (1 << length) - 1;
    for (let word = this.#nextWord(0); word < this.#words.length; word = this.#nextWord(word + 1)) {
      for (let shift = 0; shift < 32; shift += length) {
        const wanted = mask << shift;
        const bits = this.#words[word];
        if ((bits & wanted) !== wanted) continue;
        if (Atomics.compareExchange(this.#words, word, bits, bits & ~wanted) !== bits) continue;
        if ((bits & ~wanted) === 0) this.#emptied(word);
        this.#counts[this.#own] -= length;
        return word * 32 + shift;
      }
    }
    return -1;
  }

  #takeWords(first: number, count: number): boolean {
    for (let k = 0; k < count; k++) {
      if (Atomics.compareExchange(this.#words, first + k, ALL_ONES, 0) === ALL_ONES) {
        this.#emptied(first + k);
        continue;
      }
      // Another thread was quicker, or the run is broken here: put the words before back.
      for (let back = 0; back < k; back++) this.#restore(first + back, ALL_ONES);
      return false;
    }
    return true;
  }

  #takeMask(word: number, mask: number): boolean {
    for (;;) {
      const bits = this.#words[word];
      if ((bits & mask) !== mask) return false;
      if (Atomics.compareExchange(this.#words, word, bits, bits & ~mask) !== bits) continue;
      if ((bits & ~mask) === 0) this.#emptied(word);
      return true;
    }
  }

  #restore(word: number, bits: number): void {
    Atomics.or(this.#words, word, bits);
    Atomics.or(this.#summary, word >>> 5, 1 << (word & 31));
  }

  // Between clearing the summary and looking again another thread may have released a page: then the hint is set anew.
  #emptied(word: number): void {
    Atomics.and(this.#summary, word >>> 5, ~(1 << (word & 31)));
    if (Atomics.load(this.#words, word) !== 0) Atomics.or(this.#summary, word >>> 5, 1 << (word & 31));
  }

  #nextWord(from: number): number {
    let group = from >>> 5;
    let bits = group < this.#summary.length ? this.#summary[group] & (ALL_ONES << (from & 31)) : 0;
    while (bits === 0) {
      group++;
      if (group >= this.#summary.length) return this.#words.length;
      bits = this.#summary[group];
    }
    return group * 32 + 31 - Math.clz32(bits & -bits);
  }
}

/** The first page of the word behind that of `page`. */
function nextWord(page: number): number {
  return page + 32 - (page & 31);
}

/** The bits of the pages from `page` to `end` that stand in the word of `page`. */
function maskOf(page: number, end: number): number {
  const above = end >>> 5 > page >>> 5 ? ALL_ONES : ~(ALL_ONES << (end & 31));
  return above & (ALL_ONES << (page & 31));
}

function makeShared(pages: number): SharedFreePages {
  const words = Math.ceil(pages / 32);
  return {
    words: new SharedArrayBuffer(4 * words),
    summary: new SharedArrayBuffer(4 * Math.ceil(words / 32)),
    counts: new SharedArrayBuffer(8 * COUNT_STRIDE * maxThreads),
    stamps: new SharedArrayBuffer(4 * STAMPS),
  };
}

function bitsOf(word: number): number {
  let rest = word - ((word >>> 1) & 0x55555555);
  rest = (rest & 0x33333333) + ((rest >>> 2) & 0x33333333);
  return Math.imul((rest + (rest >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}
