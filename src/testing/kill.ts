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

  get key(): number {
    return this.#image.key.value;
  }

  *during(event: MemoryEvent): Generator<CrashImage> {
    if (event.kind !== "store") return;
    const { offset, bytes } = event;
    if (!event.atomic && bytes.length > 1) {
      const old = this.#image.bytes.slice(offset, offset + bytes.length);
      for (const torn of tears(old, bytes, this.#random)) {
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

/** What a bulk store may have done when it is killed: its start, all but one word, words here and there, bytes. */
function* tears(old: Uint8Array, next: Uint8Array, random: Random): Generator<Uint8Array> {
  const { length } = next;
  const started = old.slice();
  started.set(next.subarray(0, below(random, length)));
  yield started;
  const holed = next.slice();
  const hole = below(random, length) & ~7;
  holed.set(old.subarray(hole, hole + 8), hole);
  yield holed;
  yield mixed(old, next, 4, random);
  yield mixed(old, next, 1, random);
}

function mixed(old: Uint8Array, next: Uint8Array, pieceBytes: number, random: Random): Uint8Array {
  const result = old.slice();
  let bits = 0;
  for (let at = 0, piece = 0; at < next.length; at += pieceBytes, piece++) {
    if (piece % 32 === 0) bits = below(random, 2 ** 32);
    if (((bits >>> (piece % 32)) & 1) === 0) continue;
    for (let k = at; k < Math.min(at + pieceBytes, next.length); k++) result[k] = next[k];
  }
  return result;
}
