/**
 * A crash model that leaves the threads' epoch words out. They are stored twice an operation and never flushed, and no
 * open trusts them: each would make every state a few more that mean the same.
 */
import { epochsLayout, superblockOffsets } from "../../src/region/layout.ts";
import type { CrashImage, CrashModel, MemoryEvent } from "../../src/testing/index.ts";

export class EpochBlind implements CrashModel {
  readonly #model: CrashModel;

  constructor(model: CrashModel) {
    this.#model = model;
  }

  get key(): number {
    return this.#model.key;
  }

  during(event: MemoryEvent): Iterable<CrashImage> {
    return isEpoch(event) ? [] : this.#model.during(event);
  }

  add(event: MemoryEvent): void {
    if (!isEpoch(event)) this.#model.add(event);
  }

  now(): Iterable<CrashImage> {
    return this.#model.now();
  }

  latest(): Uint8Array {
    return this.#model.latest();
  }

  fork(): CrashModel {
    return new EpochBlind(this.#model.fork());
  }
}

/** True for a store that says no more than that a thread is at work. */
export function isEpoch(event: MemoryEvent): boolean {
  if (event.kind !== "store") return false;
  const within = event.offset - superblockOffsets.epochs;
  return within >= 0 && within + event.bytes.length <= epochsLayout.sizeBytes;
}
