import { assert } from "../base/index.ts";

const STRIPES = 4096;
/** A waiting thread looks again at least this often: a worker that sleeps longer would keep its process from ending. */
const LOOK_AGAIN_MS = 1000;

/**
 * What a thread does when a lock is taken: by default it sleeps until the holder changes. Tests that run two threads
 * in one put something else here.
 */
export type Wait = (words: Int32Array, at: number, value: number) => void;

const sleep: Wait = (words, at, value) => {
  Atomics.wait(words, at, value, LOOK_AGAIN_MS);
};

/** Where a thread waits in this isolate; replaced by the interleaving tests only. */
export const waiting: { wait: Wait } = { wait: sleep };

/** Stands in a lock word beside its holder when somebody waits: waking nobody costs 27 ns. */
const WAITED_FOR = 2 ** 30;

/** Takes a lock word for `thread` (a number above 0 and below 2^30). */
export function acquire(words: Int32Array, at: number, thread: number): void {
  for (;;) {
    const found = Atomics.compareExchange(words, at, 0, thread);
    if (found === 0) return;
    assert((found & ~WAITED_FOR) !== thread, "a thread does not take a lock twice");
    const marked = found | WAITED_FOR;
    // If it changed meanwhile the lock may be free: look again.
    if (found !== marked && Atomics.compareExchange(words, at, found, marked) !== found) continue;
    waiting.wait(words, at, marked);
  }
}

/** Gives a lock word back and wakes who waits for it. */
export function release(words: Int32Array, at: number): void {
  if ((Atomics.exchange(words, at, 0) & WAITED_FOR) !== 0) Atomics.notify(words, at);
}

/**
 * Rule 8: a name has one lock, striped, in shared memory, never on media. It is held from looking the page up until the
 * loser's claim is withdrawn, that is persisted, and the page table says so.
 */
export class NameLocks {
  readonly words: Int32Array = new Int32Array(new SharedArrayBuffer(4 * STRIPES));

  stripeOf(owner: number, index: number): number {
    return (Math.imul(owner, 0x9e3779b1) + index) & (STRIPES - 1);
  }
}

/**
 * Operations on an instance enter its gate; delete, resize and publish close it and wait until those inside have left.
 *
 *     words:  [ operations inside | thread that closed it, or 0 ]
 */
export class Gate {
  readonly #words = new Int32Array(new SharedArrayBuffer(8));

  enter(): void {
    for (let closedBy = this.tryEnter(); closedBy !== 0; closedBy = this.tryEnter()) this.waitFor(closedBy);
  }

  /** Enters unless it is closed. @returns the thread that closed it, or 0 */
  tryEnter(): number {
    Atomics.add(this.#words, 0, 1);
    const closedBy = Atomics.load(this.#words, 1);
    if (closedBy !== 0) this.leave();
    return closedBy;
  }

  /** Sleeps while the thread that closed it has it closed. */
  waitFor(closedBy: number): void {
    waiting.wait(this.#words, 1, closedBy);
  }

  leave(): void {
    if (Atomics.sub(this.#words, 0, 1) === 1 && Atomics.load(this.#words, 1) !== 0) Atomics.notify(this.#words, 0);
  }

  close(thread: number): void {
    acquire(this.#words, 1, thread);
    try {
      for (let inside = Atomics.load(this.#words, 0); inside !== 0; inside = Atomics.load(this.#words, 0)) {
        waiting.wait(this.#words, 0, inside);
      }
    } catch (error) {
      this.open();
      throw error;
    }
  }

  open(): void {
    release(this.#words, 1);
  }
}

/**
 * Enters the gates of two instances, or the one of both. Nobody waits at one gate while it is inside of the other: who
 * closes both would wait for it for ever.
 */
export function enterBoth(first: Gate, second: Gate): void {
  first.enter();
  if (first === second) return;
  for (let closedBy = second.tryEnter(); closedBy !== 0; closedBy = second.tryEnter()) {
    first.leave();
    second.waitFor(closedBy);
    first.enter();
  }
}
