import type { MemoryEvent } from "./recording-memory.ts";
import type { Patch, TrialImage } from "./trial-image.ts";

/** An image that a crash may leave. It is only good until its generator makes the next one. */
export class CrashImage {
  /** Equal images have equal keys, also those of different generators. */
  readonly key: number;
  readonly #image: TrialImage;
  readonly #patches: readonly Patch[];
  readonly #label: () => string;

  /** `key` is that of the image with the patches laid over it. */
  constructor(image: TrialImage, patches: readonly Patch[], key: number, label: () => string) {
    this.#image = image;
    this.#patches = patches;
    this.key = key;
    this.#label = label;
  }

  /** Words that say which one it is. */
  get label(): string {
    return this.#label();
  }

  /** Runs `act` with the image in this state; what is stored meanwhile is taken back. */
  attempt<T>(act: (image: TrialImage) => T): T {
    return this.#image.attempt(() => {
      for (const { offset, bytes } of this.#patches) this.#image.store(offset, bytes);
      return act(this.#image);
    });
  }

  /** A copy of the image. */
  bytes(): Uint8Array {
    return this.attempt((image) => image.bytes.slice());
  }
}

/** What a kind of crash may leave, while events are taken in one after the other. */
export interface CrashModel {
  /** Models of equal keys may leave the same images, now and while the same events happen. */
  readonly key: number;
  /** Images that a crash may leave while this event happens; the model then still stands before it. */
  during(event: MemoryEvent): Iterable<CrashImage>;
  /** Takes an event in. */
  add(event: MemoryEvent): void;
  /** Images that a crash may leave now. */
  now(): Iterable<CrashImage>;
  /** What a process finds that opens the memory now, while the machine runs on: every store. */
  latest(): Uint8Array;
  /** The same model once more, going its own way from here. */
  fork(): CrashModel;
}
