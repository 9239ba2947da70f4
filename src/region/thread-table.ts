import { PerdureError } from "../base/index.ts";
import { currentThread, threadLives } from "../memory/index.ts";

/** Threads of one writer that have a region open at a time: as many as there are words for them on the media. */
export const maxThreads = 64;

/** Every thread has a line of the processor's cache to itself: 64 bits of who it is, and then the word of its epoch. */
const WORDS = 16;
const EPOCH = 2;

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
      if (this.#exchange(number, 0n, identity)) return number;
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
    this.#words[(number - 1) * WORDS + EPOCH]++;
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
      if ((Atomics.load(this.#words, (number - 1) * WORDS + EPOCH) & 1) === 1) return true;
      this.#exchange(number, identity, 0n);
      return false;
    });
  }

  #identity(number: number): bigint {
    return Atomics.load(this.#identities, ((number - 1) * WORDS) / 2);
  }

  #exchange(number: number, from: bigint, to: bigint): boolean {
    return Atomics.compareExchange(this.#identities, ((number - 1) * WORDS) / 2, from, to) === from;
  }
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
