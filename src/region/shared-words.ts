import { waiting } from "./locks.ts";

/**
 * The words that there are once for a region and that its threads share, never on media. Those that are hardly ever
 * written stand apart from those that are.
 *
 *     word   0  status         1  version of the directory   2  mark   3  version of the state record
 *            4  how often the directory grew               5  pages promised
 *           16  lock of the directory      32  lock of the state record      40  lock of the trees of layers
 *           48  last sequence, 64 bits     64  bytes of the reason, then the reason of the poison
 *          256  owners whose records changed, by version modulo 1024
 */
const word = {
  status: 0,
  directoryVersion: 1,
  mark: 2,
  stateVersion: 3,
  directoryGrowth: 4,
  promised: 5,
  directoryLock: 16,
  stateLock: 32,
  treeLock: 40,
  sequence: 48,
  reason: 64,
  changes: 256,
} as const;
const CHANGES = 1024;
const WORDS: number = word.changes + CHANGES;
const REASON_BYTES: number = 4 * (word.changes - word.reason - 1);

/** Bits of the status; zero is a region that takes operations. */
const status = { poisoned: 1, closing: 2, closed: 4 } as const;

/** What the threads of a writer have in common. */
export class SharedWords {
  readonly buffer: SharedArrayBuffer;
  readonly words: Int32Array;
  readonly directoryLock: Int32Array;
  readonly stateLock: Int32Array;
  readonly treeLock: Int32Array;
  readonly #sequence: BigInt64Array;

  constructor(buffer: SharedArrayBuffer = new SharedArrayBuffer(4 * WORDS)) {
    this.buffer = buffer;
    this.words = new Int32Array(buffer);
    this.directoryLock = new Int32Array(buffer, 4 * word.directoryLock, 1);
    this.stateLock = new Int32Array(buffer, 4 * word.stateLock, 1);
    this.treeLock = new Int32Array(buffer, 4 * word.treeLock, 1);
    this.#sequence = new BigInt64Array(buffer, 4 * word.sequence, 1);
  }

  // ---- status ----------------------------------------------------------------------------------------------

  /** One plain load: zero while nobody closed or poisoned the region. */
  get status(): number {
    return this.words[word.status];
  }

  get isPoisoned(): boolean {
    return (Atomics.load(this.words, word.status) & status.poisoned) !== 0;
  }

  get isClosed(): boolean {
    return (Atomics.load(this.words, word.status) & status.closed) !== 0;
  }

  /** Waits while the owner is looking whether it can close. */
  waitWhileClosing(): void {
    for (;;) {
      const found = Atomics.load(this.words, word.status);
      if ((found & status.closing) === 0) return;
      waiting.wait(this.words, word.status, found);
    }
  }

  /** Poisons the region for all its threads; the first reason stays. */
  poison(reason: string): void {
    const encoded = new TextEncoder().encode(reason).subarray(0, REASON_BYTES);
    if (Atomics.compareExchange(this.words, word.reason, 0, encoded.length) === 0) {
      new Uint8Array(this.buffer, 4 * (word.reason + 1), encoded.length).set(encoded);
    }
    Atomics.or(this.words, word.status, status.poisoned);
  }

  /** Why the region was poisoned. */
  get reason(): string {
    const lengthBytes = Atomics.load(this.words, word.reason);
    // A copy: TextDecoder takes no shared memory.
    return new TextDecoder().decode(new Uint8Array(this.buffer, 4 * (word.reason + 1), lengthBytes).slice());
  }

  /** Keeps other threads from attaching while the owner looks whether it is the last one. */
  beginClose(): void {
    Atomics.or(this.words, word.status, status.closing);
  }

  /** The owner closed the region, or found that it cannot. */
  endClose(isClosed: boolean): void {
    if (isClosed) Atomics.or(this.words, word.status, status.closed);
    Atomics.and(this.words, word.status, ~status.closing);
    Atomics.notify(this.words, word.status);
  }

  // ---- what changes together with the media ------------------------------------------------------------------

  /** The high-water mark: a plain load, since whoever raised it gave pages to nobody before. */
  get mark(): number {
    return this.words[word.mark] >>> 0;
  }

  set mark(mark: number) {
    Atomics.store(this.words, word.mark, mark | 0);
  }

  /** How often the record of the region's state was rewritten. */
  get stateVersion(): number {
    return Atomics.load(this.words, word.stateVersion);
  }

  countState(): number {
    return Atomics.add(this.words, word.stateVersion, 1) + 1;
  }

  /** How often the directory was given pages. */
  get directoryGrowth(): number {
    return Atomics.load(this.words, word.directoryGrowth);
  }

  countGrowth(): number {
    return Atomics.add(this.words, word.directoryGrowth, 1) + 1;
  }

  /** Pages that instances are guaranteed and do not have yet: a plain load. */
  get promised(): number {
    return this.words[word.promised] >>> 0;
  }

  promise(change: number): void {
    if (change !== 0) Atomics.add(this.words, word.promised, change);
  }

  /** How often a record of the directory was rewritten: a plain load. */
  get directoryVersion(): number {
    return this.words[word.directoryVersion];
  }

  /** Says that the record of an owner was rewritten. Under the lock of the directory. @returns the version */
  countChange(owner: number): number {
    const version = this.words[word.directoryVersion];
    this.words[word.changes + (version & (CHANGES - 1))] = owner;
    Atomics.store(this.words, word.directoryVersion, (version + 1) | 0);
    return (version + 1) | 0;
  }

  /** Owners whose records changed between two versions; undefined when that is too long ago to know. */
  changesBetween(from: number, to: number): Set<number> | undefined {
    if (((to - from) | 0) >= CHANGES) return undefined;
    const owners = new Set<number>();
    for (let version = from; version !== to; version = (version + 1) | 0) {
      owners.add(Atomics.load(this.words, word.changes + (version & (CHANGES - 1))));
    }
    // The first of them may have been overwritten while they were read.
    const now = Atomics.load(this.words, word.directoryVersion);
    return ((now - from) | 0) < CHANGES ? owners : undefined;
  }

  /** The last sequence that was given out. */
  get sequence(): number {
    return Number(Atomics.load(this.#sequence, 0));
  }

  set sequence(sequence: number) {
    Atomics.store(this.#sequence, 0, BigInt(sequence));
  }

  /** The next number of the one sequence of the region. */
  nextSequence(): number {
    return Number(Atomics.add(this.#sequence, 0, 1n)) + 1;
  }
}
