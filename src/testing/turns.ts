import { assert } from "../base/index.ts";
import type { EventLog } from "./event-log.ts";
import type { Schedule, Step, ThreadName } from "./schedule.ts";

/** Words that two threads and the one that runs them share. */
const word = {
  /** Three words, 1 for the one whose turn it is: a word of its own for each, so that nobody else wakes. */
  turns: 0,
  /** What is to be done, for those who use the turns. */
  order: 3,
  /** Steps so far. */
  step: 4,
  /** Which of the preemptions is the next. */
  next: 5,
  /** 1 while steps count. */
  counts: 6,
  /** By thread: state; where it waits, that is the buffer, the word and the value that is to change. */
  threads: 8,
  preemptions: 16,
  steps: 32,
} as const;
const THREAD_WORDS = 4;
const state = { ready: 0, waiting: 1, ended: 2 } as const;
const MAX_PREEMPTIONS: number = word.steps - word.preemptions - 1;
const NONE = -1;
const MAX_STEPS = 8192;
/** Words of a step: thread and whether it was a choice, events before it. */
const STEP_WORDS = 2;
const WORDS: number = word.steps + MAX_STEPS * STEP_WORDS;
/** Far longer than a thread runs from one step to the next. */
const LOST_AFTER_MS = 60_000;
const names: readonly ThreadName[] = ["A", "B"];

/** Neither of two threads can go on. */
export class Deadlock extends Error {}

/**
 * Lets two threads run one at a time, as a schedule says. Each has one of these, number 1 or 2, and so has who runs
 * them, number 0. A thread calls `pass` before each of its steps, and `wait` instead of sleeping at a lock.
 */
export class Turns {
  readonly buffer: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #me: number;
  #places: readonly Int32Array[] = [];
  #numbers: ReadonlyMap<ArrayBufferLike, number> = new Map();

  constructor(me: number, buffer: SharedArrayBuffer = new SharedArrayBuffer(4 * WORDS)) {
    this.#me = me;
    this.buffer = buffer;
    this.#words = new Int32Array(buffer);
  }

  /** Names the buffers that have words at which threads wait; for all threads the same ones in the same order. */
  watch(buffers: readonly SharedArrayBuffer[]): void {
    this.#places = buffers.map((buffer) => new Int32Array(buffer, 0, Math.floor(buffer.byteLength / 4)));
    this.#numbers = new Map(buffers.map((buffer, number) => [buffer, number]));
  }

  get order(): number {
    return this.#words[word.order];
  }

  // ---- for who runs the threads ----------------------------------------------------------------------------

  /** Gives the first thread its turn with an order, and waits until the last has given it back. */
  send(order: number): void {
    this.#words[word.order] = order;
    this.#give(1);
    this.waitForTurn();
  }

  /** What the next run is to follow. */
  begin({ preemptions }: Schedule): void {
    assert(preemptions.length <= MAX_PREEMPTIONS, "a schedule has few preemptions");
    this.#words.fill(0, word.step, word.preemptions);
    this.#words.set([...preemptions, NONE], word.preemptions);
  }

  /** The steps of the run that has ended. */
  get steps(): Step[] {
    return Array.from({ length: this.#words[word.step] }, (_, k) => {
      const at = word.steps + k * STEP_WORDS;
      return {
        thread: names[this.#words[at] >>> 1],
        isChoice: (this.#words[at] & 1) === 1,
        events: this.#words[at + 1],
      };
    });
  }

  // ---- for the threads -------------------------------------------------------------------------------------

  /** Both threads are ready: steps count from here on. */
  start(): void {
    this.#words[word.counts] = 1;
  }

  /** Sleeps until it is this thread's turn. */
  waitForTurn(): void {
    const own = word.turns + this.#me;
    while (Atomics.compareExchange(this.#words, own, 1, 0) === 0) {
      const isLost = Atomics.wait(this.#words, own, 0, LOST_AFTER_MS) === "timed-out";
      // Only who runs the threads can tell that one of them is lost: they themselves wait for it between two runs.
      if (isLost && this.#me === 0) throw new Error("a thread does not come to its next step");
    }
  }

  /** Gives the turn away for good: to the other thread, or to who runs them. */
  leaveTo(number: number): void {
    this.#give(number);
  }

  /** Lets the other thread go on, and sleeps until it is this one's turn again. */
  yieldTo(number: number): void {
    this.#give(number);
    this.waitForTurn();
  }

  /** A step begins; `log` holds the events before it. */
  pass(log: EventLog): void {
    if (this.#words[word.counts] === 0) return;
    const step = this.#words[word.step];
    assert(step < MAX_STEPS, "a run comes to an end");
    this.#words[word.step] = step + 1;
    const isChoice = this.#isReady(this.#other);
    const at = word.steps + step * STEP_WORDS;
    this.#words[at] = ((this.#me - 1) << 1) | (isChoice ? 1 : 0);
    this.#words[at + 1] = log.count;
    if (this.#words[word.preemptions + this.#words[word.next]] !== step) return;
    this.#words[word.next]++;
    assert(isChoice, "a schedule preempts a thread where the other can go on");
    // What this step is belongs to the other thread now; this one comes here again.
    this.#words[word.step] = step;
    this.yieldTo(this.#other);
    this.pass(log);
  }

  /** Sleeps until a word has another value than this: the other thread goes on. @throws Deadlock when it cannot */
  wait(words: Int32Array, at: number, value: number): void {
    const buffer = this.#numbers.get(words.buffer);
    assert(buffer !== undefined, "threads wait at words that are watched");
    const own = word.threads + (this.#me - 1) * THREAD_WORDS;
    this.#words.set([state.waiting, buffer, words.byteOffset / 4 + at, value], own);
    try {
      while (Atomics.load(words, at) === value) {
        if (!this.#isReady(this.#other)) throw new Deadlock("both threads wait for each other");
        this.yieldTo(this.#other);
      }
    } finally {
      this.#words[own] = state.ready;
    }
  }

  /** This thread has done its work. @returns whether the other one has, too */
  end(): boolean {
    this.#words[word.threads + (this.#me - 1) * THREAD_WORDS] = state.ended;
    if (this.isOtherDone) this.#words[word.counts] = 0;
    return this.isOtherDone;
  }

  /** The other thread has done its work. */
  get isOtherDone(): boolean {
    return this.#words[word.threads + (this.#other - 1) * THREAD_WORDS] === state.ended;
  }

  get #other(): number {
    return 3 - this.#me;
  }

  #isReady(number: number): boolean {
    const [is, buffer, at, value] = this.#words.subarray(word.threads + (number - 1) * THREAD_WORDS);
    return is === state.ready || (is === state.waiting && Atomics.load(this.#places[buffer], at) !== value);
  }

  #give(number: number): void {
    Atomics.store(this.#words, word.turns + number, 1);
    Atomics.notify(this.#words, word.turns + number);
  }
}
