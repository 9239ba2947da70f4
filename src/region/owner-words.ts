import { firstOwner, maxOwner } from "./layout.ts";
import { Gate } from "./locks.ts";
import { SharedSlabs } from "./shared-slabs.ts";

/**
 * Where the words of an owner stand: two of a gate, how many pages it has, how many of those are tails of runs, whether
 * its number was given out, and which line it is: zero is that of its own number.
 */
const ownerWord = { gate: 0, pages: 2, tails: 3, used: 4, line: 5, maskPages: 6 } as const;
/** Every owner has a line of the processor's cache to itself: gates of two instances would take it from each other. */
const WORDS = 16;
const SLAB_WORDS: number = WORDS * 1024;

/**
 * The words that threads share for each owner of pages.
 *
 * What a handle follows is a *line*: an instance through its snapshots. A snapshot keeps the owner number, since its
 * pages are claimed by that, and the line goes on with a new one. So gates belong to lines.
 */
export class OwnerWords {
  readonly #words: SharedSlabs;
  /** The same memory as words with a sign, which `Atomics.wait` asks for. */
  readonly #signed: Int32Array[] = [];
  /** Until other threads come, counting is a plain addition: an atomic one costs 7 ns. */
  #isShared: boolean;
  /** All numbers below were given out. */
  #unused: number = firstOwner;

  constructor(shared?: readonly SharedArrayBuffer[]) {
    const buffers = shared ?? SharedSlabs.make(SLAB_WORDS, WORDS * (maxOwner + 1));
    this.#words = new SharedSlabs(buffers, SLAB_WORDS);
    this.#isShared = shared !== undefined;
  }

  /** What another thread makes its own `OwnerWords` of. */
  share(): readonly SharedArrayBuffer[] {
    this.#isShared = true;
    return this.#words.buffers;
  }

  gate(line: number, passed: () => void): Gate {
    return new Gate(this.#slabOf(line), this.#at(line) + ownerWord.gate, passed);
  }

  lineOf(owner: number): number {
    return Atomics.load(this.#slabOf(owner), this.#at(owner) + ownerWord.line) || owner;
  }

  /** Exchanges the lines of two owners. Under the lock of the directory. */
  exchangeLines(a: number, b: number): void {
    const lineA = this.lineOf(a);
    Atomics.store(this.#slabOf(a), this.#at(a) + ownerWord.line, this.lineOf(b));
    Atomics.store(this.#slabOf(b), this.#at(b) + ownerWord.line, lineA);
  }

  pages(owner: number): number {
    return this.#slabOf(owner)[this.#at(owner) + ownerWord.pages] >>> 0;
  }

  /** @returns how many it had before */
  addPages(owner: number, change: number): number {
    const words = this.#slabOf(owner);
    const at = this.#at(owner) + ownerWord.pages;
    if (this.#isShared) return Atomics.add(words, at, change) >>> 0;
    const before = words[at];
    words[at] = before + change;
    return before >>> 0;
  }

  maskPages(owner: number): number {
    return this.#slabOf(owner)[this.#at(owner) + ownerWord.maskPages] >>> 0;
  }

  addMaskPages(owner: number, change: number): void {
    Atomics.add(this.#slabOf(owner), this.#at(owner) + ownerWord.maskPages, change);
  }

  tails(owner: number): number {
    return this.#slabOf(owner)[this.#at(owner) + ownerWord.tails] >>> 0;
  }

  addTails(owner: number, change: number): void {
    Atomics.add(this.#slabOf(owner), this.#at(owner) + ownerWord.tails, change);
  }

  /** True for a number that was given out since the region was opened: it is not given out again. */
  isUsed(owner: number): boolean {
    return this.#slabOf(owner)[this.#at(owner) + ownerWord.used] !== 0;
  }

  /** Gives a number out. Under the lock of the directory. */
  use(owner: number): void {
    this.#slabOf(owner)[this.#at(owner) + ownerWord.used] = 1;
  }

  /** The lowest number that was not given out, `maxOwner + 1` when all were. Under the lock of the directory. */
  firstUnused(): number {
    while (this.#unused <= maxOwner && this.isUsed(this.#unused)) this.#unused++;
    return this.#unused;
  }

  #at(owner: number): number {
    return (owner * WORDS) % SLAB_WORDS;
  }

  #slabOf(owner: number): Int32Array {
    const number = Math.floor((owner * WORDS) / SLAB_WORDS);
    return this.#signed[number] ?? this.#viewSlab(number);
  }

  // Only numbers that are asked for under the lock of the directory can lie beyond the end: so one thread grows at a
  // time.
  #viewSlab(number: number): Int32Array {
    this.#words.catchUp();
    while (this.#words.slabs.length <= number) this.#words.grow();
    const { buffer, byteOffset, length } = this.#words.slabs[number];
    const view = new Int32Array(buffer, byteOffset, length);
    this.#signed[number] = view;
    return view;
  }
}
