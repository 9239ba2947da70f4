import type { Memory } from "../memory/index.ts";
import type { RegionCore } from "./core.ts";
import { epochsLayout, superblockOffsets } from "./layout.ts";
import type { ThreadTable } from "./thread-table.ts";

/** A line of the processor's cache has sixteen words: so many threads in a row have lines of their own. */
const LINES = 4;
const WORDS_PER_LINE = 16;

/** Where the epoch of a thread stands on media. */
export function epochOffset(thread: number): number {
  const k = thread - 1;
  return superblockOffsets.epochs + 4 * ((k % LINES) * WORDS_PER_LINE + Math.floor(k / LINES));
}

/** The epochs of all threads of the writer, as they stand on media now. */
export function readEpochs(memory: Memory): readonly number[] {
  return epochsLayout.decode(memory.read(superblockOffsets.epochs, epochsLayout.sizeBytes)).words;
}

/** True when no thread changed anything between two readings. */
export function stoodStill(before: readonly number[], after: readonly number[]): boolean {
  return before.every((epoch, k) => epoch % 2 === 0 && epoch === after[k]);
}

/**
 * Says when a thread is inside of an operation, twice. The threads beside it see a word that is odd from before the
 * first lock until after the last: whoever ends meanwhile has left something half-way. Readers in other processes see a
 * word on media that is odd from the first store of a change until its end: a scan beside it may have met the middle.
 * The word on media is never trusted by an open, and costs nothing where an operation stores nothing.
 */
export class ThreadEpoch {
  readonly #memory: Memory;
  readonly #core: RegionCore;
  readonly #threads: ThreadTable;
  readonly #thread: number;
  readonly #offset: number;
  /** Operations inside of each other. */
  #depth = 0;
  #epoch = 0;
  #isChanging = false;

  constructor(memory: Memory, core: RegionCore, thread: number) {
    this.#memory = memory;
    this.#core = core;
    this.#threads = core.shared.threads;
    this.#thread = thread;
    this.#offset = epochOffset(thread);
    // Goes on where the one before stopped: a scan that met both must not find the number of before its start again.
    if (!memory.readOnly) this.#epoch = memory.load32(this.#offset);
  }

  /** Before the first lock of an operation. */
  enter(): void {
    if (this.#depth++ === 0) this.#threads.countEpoch(this.#thread);
  }

  /** Before the first store of an operation that a scan could see half-way. */
  change(): void {
    if (this.#isChanging) return;
    this.#isChanging = true;
    this.#step();
  }

  /** After the last lock was given back. */
  leave(): void {
    if (--this.#depth !== 0) return;
    try {
      if (this.#isChanging) this.#step();
    } catch (error) {
      // What the operation was to do is done and durable, so it does not fail; the next one will.
      this.#core.failed(error);
    } finally {
      this.#isChanging = false;
      this.#threads.countEpoch(this.#thread);
    }
  }

  #step(): void {
    this.#epoch = (this.#epoch + 1) | 0;
    this.#memory.commit32(this.#offset, this.#epoch);
  }
}
