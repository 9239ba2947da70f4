import { assert } from "../base/index.ts";
import type { Extent } from "../device/index.ts";
import { ALLOCATION_STATE } from "./protocol.ts";

/** The extents of a block status reply: equal neighbours are one, and there is an end to their number and length. */
export class ExtentList {
  /** Length and state of each extent, in turn, as they stand on the wire. */
  readonly words: number[] = [];
  readonly #limit: number;
  readonly #maxLengthBytes: number;

  /**
   * @param limit how many extents the reply may hold
   * @param maxLengthBytes how long each of them may be
   */
  constructor(limit: number, maxLengthBytes: number) {
    this.#limit = limit;
    this.#maxLengthBytes = maxLengthBytes;
  }

  get room(): number {
    return this.#limit - this.words.length / 2;
  }

  /** Adds the run that follows the last one. False when it does not fit: the list is complete then. */
  add(run: Extent): boolean {
    assert(run.lengthBytes > 0, "a run of a device holds at least one byte");
    const state = (run.hole ? ALLOCATION_STATE.HOLE : 0) | (run.zero ? ALLOCATION_STATE.ZERO : 0);
    if (this.words.length === 0 || this.words.at(-1) !== state) {
      if (this.room === 0) return false;
      this.words.push(0, state);
    }
    const last = this.words.length - 2;
    const lengthBytes = this.words[last] + run.lengthBytes;
    this.words[last] = Math.min(lengthBytes, this.#maxLengthBytes);
    return lengthBytes <= this.#maxLengthBytes;
  }
}
