import { ImageKey } from "./image-key.ts";
import { below, type Random } from "./random.ts";
import type { MemoryEvent } from "./recording-memory.ts";

/** An image that a crash may leave. */
export interface CrashImage {
  /** Equal images have equal keys, within one generator. */
  readonly key: number;
  /** Words that say which one it is. */
  readonly label: string;
  /** The image itself, built when it is asked for; only good until the next one is. */
  bytes(): Uint8Array;
}

/**
 * The kill model: a process that dies leaves exactly a prefix of its machine stores. A bulk write is many of them, in
 * any order, so its middle is tried too.
 */
export function* killImages(start: Uint8Array, events: readonly MemoryEvent[], random: Random): Generator<CrashImage> {
  const image = start.slice();
  const key = new ImageKey();
  for (const [at, event] of events.entries()) {
    if (event.kind !== "store") continue;
    if (!event.atomic && event.bytes.length > 1) {
      const old = image.slice(event.offset, event.offset + event.bytes.length);
      key.store(image, event.offset, torn(old, event.bytes, random));
      yield { key: key.value, label: `killed inside of bulk store ${at} at byte ${event.offset}`, bytes: () => image };
      key.store(image, event.offset, old);
    }
    key.store(image, event.offset, event.bytes);
    yield { key: key.value, label: `killed after store ${at} at byte ${event.offset}`, bytes: () => image };
  }
}

// A random subset of 4-byte pieces has landed; sometimes single bytes, as an unoptimised copy leaves them.
function torn(old: Uint8Array, next: Uint8Array, random: Random): Uint8Array {
  const mixed = old.slice();
  const piece = random() < 0.3 ? 1 : 4;
  const isPrefix = random() < 0.5;
  const cut = below(random, next.length);
  for (let at = 0; at < next.length; at += piece) {
    if (isPrefix ? at < cut : random() < 0.5) mixed.set(next.subarray(at, at + piece), at);
  }
  return mixed;
}
