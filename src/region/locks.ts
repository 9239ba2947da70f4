import { assert } from "../base/index.ts";

const STRIPES = 4096;
/** A waiting thread looks again at least this often: a worker that sleeps longer would keep its process from ending. */
const LOOK_AGAIN_MS = 1000;

/**
 * What a thread does when a lock is taken: by default it sleeps until the holder changes. Tests that run two threads
 * in one put something else here.
 */
export type Wait = (words: Int32Array, at: number, value: number) => void;

/** What is done for the words of a buffer when a wait was long: the thread waited for may be gone. */
const watches = new WeakMap<ArrayBufferLike, () => void>();

/**
 * Has `look` called, by every thread of this isolate that waits, at least once a second, for a word of that buffer.
 * What it throws ends the wait.
 */
export function watchWaits(buffer: SharedArrayBuffer, look: () => void): void {
  watches.set(buffer, look);
}

const sleep: Wait = (words, at, value) => {
  if (Atomics.wait(words, at, value, LOOK_AGAIN_MS) === "timed-out") watches.get(words.buffer)?.();
};

/**
 * Where a thread waits in this isolate, and what it does when it comes to a lock or a gate, or has left a lock: tests
 * replace them, and let another thread go on there. Asking for `pass` costs 0.6 ns, of 8 that a lock takes.
 */
export const waiting: { wait: Wait; pass: (() => void) | undefined } = { wait: sleep, pass: undefined };

/** Stands in a lock word beside its holder when somebody waits: waking nobody costs 27 ns. */
const WAITED_FOR = 2 ** 30;

/** Takes a lock word for `thread` (a number above 0 and below 2^30). */
export function acquire(words: Int32Array, at: number, thread: number): void {
  if (waiting.pass !== undefined) waiting.pass();
  for (;;) {
    const found = Atomics.compareExchange(words, at, 0, thread);
    if (found === 0) return;
    assert((found & ~WAITED_FOR) !== thread, "a thread does not take a lock twice");
    if (markWaited(words, at, found)) waiting.wait(words, at, found | WAITED_FOR);
  }
}

/** Notes that somebody waits. @returns false when the word has changed meanwhile: the lock may be free, look again */
function markWaited(words: Int32Array, at: number, found: number): boolean {
  const marked = found | WAITED_FOR;
  return found === marked || Atomics.compareExchange(words, at, found, marked) === found;
}

/** Gives a lock word back and wakes who waits for it. */
export function release(words: Int32Array, at: number): void {
  if ((Atomics.exchange(words, at, 0) & WAITED_FOR) !== 0) Atomics.notify(words, at);
  if (waiting.pass !== undefined) waiting.pass();
}

/** Holds a lock word for `thread` while it acts. */
export function withLock<T>(words: Int32Array, at: number, thread: number, act: () => T): T {
  acquire(words, at, thread);
  try {
    return act();
  } finally {
    release(words, at);
  }
}

/**
 * Rule 8: a name has one lock, striped, in shared memory, never on media. It is held from looking the page up until the
 * loser's claim is withdrawn, that is persisted, and the page table says so.
 */
export class NameLocks {
  readonly words: Int32Array;

  constructor(buffer: SharedArrayBuffer = new SharedArrayBuffer(4 * STRIPES)) {
    this.words = new Int32Array(buffer);
  }

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
  readonly #words: Int32Array;
  readonly #inside: number;
  readonly #closer: number;

  readonly #passed: () => void;

  /**
   * A gate is two words: those of `words` from `at` on. `passed` is called by whoever has entered or closed it: only
   * then does it know what those before have done.
   */
  constructor(words: Int32Array = new Int32Array(new SharedArrayBuffer(8)), at = 0, passed = (): void => undefined) {
    this.#words = words;
    this.#inside = at;
    this.#closer = at + 1;
    this.#passed = passed;
  }

  enter(): void {
    for (let closedBy = this.tryEnter(); closedBy !== 0; closedBy = this.tryEnter()) this.waitFor(closedBy);
  }

  /** Enters unless it is closed. @returns the thread that closed it, or 0 */
  tryEnter(): number {
    if (waiting.pass !== undefined) waiting.pass();
    Atomics.add(this.#words, this.#inside, 1);
    const closedBy = Atomics.load(this.#words, this.#closer);
    if (closedBy !== 0) this.leave();
    else this.#passed();
    return closedBy;
  }

  /** Sleeps while the thread that closed it has it closed. */
  waitFor(closedBy: number): void {
    if (markWaited(this.#words, this.#closer, closedBy)) waiting.wait(this.#words, this.#closer, closedBy | WAITED_FOR);
  }

  leave(): void {
    if (Atomics.sub(this.#words, this.#inside, 1) === 1 && Atomics.load(this.#words, this.#closer) !== 0) {
      Atomics.notify(this.#words, this.#inside);
    }
  }

  close(thread: number): void {
    acquire(this.#words, this.#closer, thread);
    try {
      for (;;) {
        const inside = Atomics.load(this.#words, this.#inside);
        if (inside === 0) break;
        waiting.wait(this.#words, this.#inside, inside);
      }
      this.#passed();
    } catch (error) {
      this.open();
      throw error;
    }
  }

  open(): void {
    release(this.#words, this.#closer);
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
