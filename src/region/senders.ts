import type { ThreadTable } from "./thread-table.ts";

/** How long a thread that found no page waits for those that others hold back, and how often it looks. */
const WAIT_STEP_MS = 1;
const WAIT_STEPS = 100;
/** Nobody wakes who sleeps here: it is the way to sleep in a synchronous call. */
const alarm = new Int32Array(new SharedArrayBuffer(4));

/**
 * Keeps pages that were freed from being used again while the kernel may still copy them to somebody.
 *
 * A server looks pages up and lets the kernel send them from where they stand. It says so before the look-up (`enter`)
 * and after the call (`leave`); between the two it never waits for a client. A page that is freed meanwhile, by any
 * thread, is held back by the thread that freed it until every thread that was sending then has left.
 *
 * Only the page's bit waits: its claim was withdrawn and that is persisted, so a crash finds nothing to settle.
 */
export class Senders {
  readonly #threads: ThreadTable;
  readonly #thread: number;
  #depth = 0;
  /** Until other threads come there is nobody else to ask. */
  #isShared: boolean;
  /** Freed since the last look. */
  #collected: number[] = [];
  /** Freed before it: they wait for the senders of that moment. */
  #waiting: number[] = [];
  #sendersThen: readonly number[] = [];

  constructor(threads: ThreadTable, thread: number, isShared: boolean) {
    this.#threads = threads;
    this.#thread = thread;
    this.#isShared = isShared;
  }

  /** From now on there are other threads. */
  share(): void {
    this.#isShared = true;
  }

  /** Before a page is looked up that the kernel is to read: it stays what it is until `leave`. Sections may nest. */
  enter(): void {
    if (this.#depth++ === 0) this.#threads.countSending(this.#thread);
  }

  /** After the kernel has read. */
  leave(): void {
    if (--this.#depth === 0) this.#threads.countSending(this.#thread);
  }

  /** How many pages this thread holds back. */
  get heldPages(): number {
    return this.#collected.length + this.#waiting.length;
  }

  /** @returns false when the page may be used again at once; else it comes out of `settle` later */
  holdsBack(page: number): boolean {
    if (this.#depth === 0 && (!this.#isShared || !this.#threads.anySending())) return false;
    this.#collected.push(page);
    if (this.#collected.length === 1) this.#tell();
    return true;
  }

  /** Gives the pages out that nobody can be sending any more. @returns how many those were */
  settle(give: (page: number) => void): number {
    let given = 0;
    // Twice: when the older ones are free, the younger ones may be, too.
    for (let round = 0; round < 2; round++) {
      if (this.#waiting.length > 0) {
        if (!this.#threads.haveLeft(this.#sendersThen)) break;
        given += this.#waiting.length;
        for (const page of this.#waiting) give(page);
        this.#waiting = [];
      }
      if (this.#depth > 0 || this.#collected.length === 0) break;
      this.#sendersThen = this.#threads.sending();
      this.#waiting = this.#collected;
      this.#collected = [];
    }
    if (given > 0) this.#tell();
    return given;
  }

  /**
   * Waits a moment for pages that are held back, by this thread or others: for who found none.
   *
   * @returns false when there are none, or when this thread itself is sending and so would wait for itself
   */
  wait(give: (page: number) => void): boolean {
    if (this.#depth > 0) return false;
    for (let step = 0; step < WAIT_STEPS; step++) {
      if (this.settle(give) > 0) return true;
      if (!this.#isShared || !this.#threads.anyHeld()) return false;
      Atomics.wait(alarm, 0, 0, WAIT_STEP_MS);
    }
    return false;
  }

  #tell(): void {
    this.#threads.tellHeld(this.#thread, this.heldPages > 0);
  }
}
