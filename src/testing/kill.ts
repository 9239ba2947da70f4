import { CrashImage, type CrashModel } from "./crash-image.ts";
import { below, type Random } from "./random.ts";
import type { MemoryEvent } from "./recording-memory.ts";
import { TrialImage } from "./trial-image.ts";

/**
 * The kill model: a process that dies leaves exactly a prefix of its machine stores. A bulk write is many of them, in
 * any order, so its middle is tried too.
 */
export class KillModel implements CrashModel {
  readonly #image: TrialImage;
  readonly #random: Random;

  constructor(start: Uint8Array | TrialImage, random: Random) {
    this.#image = new TrialImage(start);
    this.#random = random;
  }

  *during(event: MemoryEvent): Generator<CrashImage> {
    if (event.kind !== "store") return;
    const { offset, bytes } = event;
    if (!event.atomic && bytes.length > 1) {
      const old = this.#image.bytes.slice(offset, offset + bytes.length);
      for (const landed of tears(bytes.length, this.#random)) {
        const torn = bytes.map((byte, at) => (landed(at) ? byte : old[at]));
        yield this.#with(offset, torn, `killed inside of a bulk store at byte ${offset}`);
      }
    }
    yield this.#with(offset, bytes, `killed after a store at byte ${offset}`);
  }

  add(event: MemoryEvent): void {
    if (event.kind === "store") this.#image.store(event.offset, event.bytes);
  }

  *now(): Generator<CrashImage> {
    yield new CrashImage(this.#image, [], this.#image.key.value, () => "killed at rest");
  }

  latest(): Uint8Array {
    return this.#image.bytes.slice();
  }

  fork(): KillModel {
    return new KillModel(this.#image, this.#random);
  }

  #with(offset: number, bytes: Uint8Array, label: string): CrashImage {
    const key = this.#image.attempt(() => {
      this.#image.store(offset, bytes);
      return this.#image.key.value;
    });
    return new CrashImage(this.#image, [{ offset, bytes }], key, () => label);
  }
}

/** Every image that a kill may leave between the first of the events and the last. */
export function* killImages(start: Uint8Array, events: readonly MemoryEvent[], random: Random): Generator<CrashImage> {
  const model = new KillModel(start, random);
  for (const event of events) {
    yield* model.during(event);
    model.add(event);
  }
}

/** Which bytes of a bulk store have landed: some at its start, all but one word, words here and there, bytes. */
function tears(lengthBytes: number, random: Random): ((at: number) => boolean)[] {
  const cut = below(random, lengthBytes);
  const missing = below(random, lengthBytes) >>> 3;
  const heads = Array.from({ length: lengthBytes }, () => random() < 0.5);
  return [(at) => at < cut, (at) => at >>> 3 !== missing, (at) => heads[at >>> 2], (at) => heads[at]];
}
