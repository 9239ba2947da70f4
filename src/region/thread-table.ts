import { PerdureError } from "../base/index.ts";
import { currentThread, threadLives } from "../memory/index.ts";

/** Threads of one writer that have a region open at a time: as many as there are words for them on the media. */
export const maxThreads = 64;

/**
 * Every thread has a line of the processor's cache to itself: 64 bits of who it is, the word of its epoch, the word
 * that is odd while it sends pages, and whether it holds pages back.
 */
const WORDS = 16;
const EPOCH = 2;
const SENDING = 3;
const HELD = 4;
/** In the line of the first thread: the highest number that was ever given out. */
const HIGHEST = 5;

/**
 * The threads that have a region open, by their numbers from 1 on. The first is that of the owner, who opened it.
 *
 * Whether a thread is still there is asked of the kernel, by whoever waits for it: `worker.terminate()` and the end of
 * a worker that has no memory left run no code in that worker, and the owner does not know the workers.
 */
export class ThreadTable {
  readonly buffer: SharedArrayBuffer;
  readonly #words: Int32Array;
  /** Number of the thread in the kernel in the low half, its start in the high one; 0 for a place that is free. */
  readonly #identities: BigInt64Array;

  constructor(buffer: SharedArrayBuffer = new SharedArrayBuffer(4 * WORDS * maxThreads)) {
    this.buffer = buffer;
    this.#words = new Int32Array(buffer);
    this.#identities = new BigInt64Array(buffer);
  }

  /** Gives the calling thread a number. @throws EBUSY when all are taken */
  enter(): number {
    const identity = ownIdentity();
    for (let number = 1; number <= maxThreads; number++) {
      if (!this.#exchange(number, 0n, identity)) continue;
      this.#raiseHighest(number);
      return number;
    }
    throw new PerdureError("EBUSY", `${maxThreads} threads have the region open: there are numbers for no more`, {
      remedy: "close the region in a thread that does not need it any longer",
    });
  }

  /** Takes the number of the calling thread back. */
  leave(number: number): void {
    this.#exchange(number, this.#identity(number), 0n);
  }

  /** Makes the epoch of a thread odd when it enters an operation, and even when it leaves. */
  countEpoch(number: number): void {
    // A plain addition: others look at it when the thread is gone.
    this.#words[lineOf(number) + EPOCH]++;
  }

  /** Makes the word of a thread odd before it looks up pages for the kernel to read, and even when that has read. */
  countSending(number: number): void {
    // Atomic, so that the look-ups behind it see everything that was done before others saw this word.
    Atomics.add(this.#words, lineOf(number) + SENDING, 1);
  }

  /** Whether any thread is sending. What this thread stored before is seen by whoever begins to send after this. */
  anySending(): boolean {
    const end = lineOf(this.#barrier());
    for (let at = 0; at <= end; at += WORDS) if ((this.#words[at + SENDING] & 1) === 1) return true;
    return false;
  }

  /** The words of all threads, for `haveLeft`. */
  sending(): readonly number[] {
    return Array.from({ length: this.#barrier() }, (_, k) => this.#words[k * WORDS + SENDING]);
  }

  /** Whether every thread that was sending at some time has left since. */
  haveLeft(then: readonly number[]): boolean {
    return then.every((word, k) => word % 2 === 0 || Atomics.load(this.#words, k * WORDS + SENDING) !== word);
  }

  /** Says whether a thread holds pages back that it will give out soon. */
  tellHeld(number: number, isHolding: boolean): void {
    Atomics.store(this.#words, lineOf(number) + HELD, isHolding ? 1 : 0);
  }

  anyHeld(): boolean {
    return this.numbers.some((number) => Atomics.load(this.#words, lineOf(number) + HELD) === 1);
  }

  /** Numbers of all threads that entered and did not leave. */
  get numbers(): number[] {
    return Array.from({ length: maxThreads }, (_, k) => k + 1).filter((number) => this.#identity(number) !== 0n);
  }

  /**
   * Takes the numbers of those threads back that ended without leaving.
   *
   * @returns those that ended inside of an operation; they keep their numbers
   */
  bury(): number[] {
    return this.numbers.filter((number) => {
      const identity = this.#identity(number);
      if (identity === 0n || lives(identity)) return false;
      this.#endSending(number);
      if ((Atomics.load(this.#words, lineOf(number) + EPOCH) & 1) === 1) return true;
      this.#exchange(number, identity, 0n);
      return false;
    });
  }

  /** Whom a thread that is gone was sending to, nobody sends to any more; what it held back stays so. */
  #endSending(number: number): void {
    Atomics.and(this.#words, lineOf(number) + SENDING, ~1);
    this.tellHeld(number, false);
  }

  #raiseHighest(number: number): void {
    for (let seen = this.#words[HIGHEST]; seen < number; seen = this.#words[HIGHEST]) {
      if (Atomics.compareExchange(this.#words, HIGHEST, seen, number) === seen) return;
    }
  }

  /** An atomic operation keeps the loads behind it from being made before the stores ahead of it. @returns HIGHEST */
  #barrier(): number {
    return Atomics.add(this.#words, HIGHEST, 0);
  }

  #identity(number: number): bigint {
    return Atomics.load(this.#identities, lineOf(number) / 2);
  }

  #exchange(number: number, from: bigint, to: bigint): boolean {
    return Atomics.compareExchange(this.#identities, lineOf(number) / 2, from, to) === from;
  }
}

/** First word of the line of a thread. */
function lineOf(number: number): number {
  return (number - 1) * WORDS;
}

function ownIdentity(): bigint {
  const { tid, startTicks } = currentThread();
  return BigInt(tid) | (BigInt(startTicks >>> 0) << 32n);
}

// Who asks is alive: the kernel is asked about the others only.
function lives(identity: bigint): boolean {
  if (identity === ownIdentity()) return true;
  return threadLives({ tid: Number(identity & 0xffff_ffffn), startTicks: Number((identity >> 32n) & 0xffff_ffffn) });
}
