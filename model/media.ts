import { lineOf, totalWords } from "./layout.ts";
import type { FenceName, Mutants } from "./mutant-names.ts";

/** What a thread did to the media, in the order in which it was done. Crash engines read these. */
export type MediaEvent = StoreEvent | FlushEvent | FlushAllEvent | FenceEvent;

/** Words that were stored. A bulk write may tear anywhere, down to single bytes; a commit never does. */
export interface StoreEvent {
  readonly kind: "store";
  readonly thread: number;
  readonly word: number;
  readonly values: readonly number[];
  readonly bulk: boolean;
}

export interface FlushEvent {
  readonly kind: "flush";
  readonly thread: number;
  readonly line: number;
}

export interface FlushAllEvent {
  readonly kind: "flush-all";
  readonly thread: number;
}

export interface FenceEvent {
  readonly kind: "fence";
  readonly thread: number;
  readonly name: FenceName;
}

/** The words that outlive a crash, and, while `trace` is there, a record of everything done to them. */
export class Media {
  readonly words: Uint32Array;
  trace: MediaEvent[] | undefined;

  constructor(words: Uint32Array = new Uint32Array(totalWords)) {
    this.words = words;
  }

  /** Starts a new record of events and returns it. */
  record(): MediaEvent[] {
    this.trace = [];
    return this.trace;
  }
}

/** One thread's way to the media: the model of `Memory`. */
export class Memory {
  readonly words: Uint32Array;
  readonly #media: Media;
  readonly #thread: number;
  readonly #mutants: Mutants;

  constructor(media: Media, thread: number, mutants: Mutants) {
    this.words = media.words;
    this.#media = media;
    this.#thread = thread;
    this.#mutants = mutants;
  }

  commit32(word: number, value: number): void {
    this.#store(word, [value >>> 0], false);
  }

  commit64(word: number, low: number, high: number): void {
    this.#store(word, [low >>> 0, high >>> 0], false);
  }

  /** `Atomics.or`: no bit of another thread is lost. */
  or32(word: number, bits: number): void {
    this.commit32(word, this.words[word] | bits);
  }

  /** What `DataView` setters may do to a word: byte by byte. Only mutants store live words this way. */
  storeBytes(word: number, value: number): void {
    for (let shift = 0; shift < 32; shift += 8) {
      const mask = 0xff << shift;
      this.commit32(word, (this.words[word] & ~mask) | (value & mask));
    }
  }

  /** A bulk write: lands in any order and may tear. */
  fill(word: number, values: readonly number[]): void {
    this.#store(word, values, true);
  }

  flush(word: number, count: number): void {
    const trace = this.#media.trace;
    if (trace === undefined) return;
    for (let line = lineOf(word); line <= lineOf(word + count - 1); line++) {
      trace.push({ kind: "flush", thread: this.#thread, line });
    }
  }

  flushAll(): void {
    this.#media.trace?.push({ kind: "flush-all", thread: this.#thread });
  }

  /** Makes durable what this thread flushed, and nothing that another one flushed. */
  fence(name: FenceName): void {
    if (this.#mutants.has(`no-fence:${name}`)) return;
    this.#media.trace?.push({ kind: "fence", thread: this.#thread, name });
  }

  #store(word: number, values: readonly number[], bulk: boolean): void {
    this.#media.trace?.push({ kind: "store", thread: this.#thread, word, values, bulk });
    this.words.set(values, word);
  }
}
