import { assert } from "../base/index.ts";
import type { Memory, MemoryRange, Survival } from "../memory/index.ts";

/** Everything that happens to a recorded memory, in order. */
export type MemoryEvent =
  /** `atomic` stores are one machine store; others are bulk writes, whose bytes land in any order. */
  (
    | { readonly kind: "store"; readonly offset: number; readonly bytes: Uint8Array; readonly atomic: boolean }
    | { readonly kind: "flush"; readonly offset: number; readonly lengthBytes: number }
    | { readonly kind: "fence" }
  ) & {
    readonly thread: number;
    /** Its stack says where in the code it came from, when that is recorded. */
    readonly origin?: Error;
  };

/** What the threads of one recorded memory share: the image and the list of events. */
export class Recording {
  readonly image: Uint8Array;
  /** The image as the recorded stores alone make it: it misses what was written through views and not flushed yet. */
  readonly recorded: Uint8Array;
  events: MemoryEvent[] = [];
  /** Called before an event takes effect; here a test runs a second thread, or ends the first one. */
  before: ((event: MemoryEvent) => void) | undefined;
  /** Whether events tell where they came from: slow, for those who ask which stores were tried. */
  static recordsOrigins = false;

  /** `recorded` is given by threads that share both. */
  constructor(image: Uint8Array, recorded: Uint8Array = image.slice()) {
    assert(image.byteOffset === 0, "an image has a buffer of its own");
    this.image = image;
    this.recorded = recorded;
  }

  add(event: MemoryEvent): void {
    this.before?.(event);
    this.events.push(Recording.recordsOrigins ? { ...event, origin: new Error("recorded") } : event);
    if (event.kind === "store") this.recorded.set(event.bytes, event.offset);
  }
}

/** A memory in an ordinary buffer that records every store, flush and fence of one thread. */
export class RecordingMemory implements Memory {
  readonly recording: Recording;
  readonly ranges: readonly MemoryRange[];
  readonly sizeBytes: number;
  readonly readOnly: boolean = false;
  readonly hasWriter: boolean = false;
  readonly survival: Survival = { crash: true, lastClose: false, powerLoss: true };
  /** Stores of this thread so far. */
  stores = 0;
  readonly #thread: number;
  readonly #pair = new Uint32Array(2);

  constructor(recording: Recording, thread = 1) {
    this.recording = recording;
    this.#thread = thread;
    this.sizeBytes = recording.image.length;
    this.ranges = [{ offset: 0, lengthBytes: this.sizeBytes, source: "recorded memory" }];
  }

  /** A memory of zeroes. */
  static blank(lengthBytes: number): RecordingMemory {
    return new RecordingMemory(new Recording(new Uint8Array(lengthBytes)));
  }

  load32(offset: number): number {
    this.#refuseOutside(offset, 4);
    return new Uint32Array(this.recording.image.buffer, offset, 1)[0];
  }

  bytes(offset: number, lengthBytes: number): Uint8Array {
    this.#refuseOutside(offset, lengthBytes);
    return this.recording.image.subarray(offset, offset + lengthBytes);
  }

  read(offset: number, lengthBytes: number): Uint8Array {
    return this.bytes(offset, lengthBytes).slice();
  }

  readInto(offset: number, target: Uint8Array): void {
    target.set(this.bytes(offset, target.length));
  }

  commit32(offset: number, value: number): void {
    assert(offset % 4 === 0, "a 32-bit commit is aligned");
    this.#pair[0] = value;
    this.#store(offset, new Uint8Array(this.#pair.buffer, 0, 4).slice(), true);
  }

  commit64(offset: number, low: number, high: number): void {
    assert(offset % 8 === 0, "a 64-bit commit is aligned");
    this.#pair[0] = low;
    this.#pair[1] = high;
    this.#store(offset, new Uint8Array(this.#pair.buffer).slice(), true);
  }

  or32(offset: number, bits: number): void {
    this.commit32(offset, this.load32(offset) | bits);
  }

  fill(offset: number, source: Uint8Array): void {
    // A copy: the slice of a Buffer would be the caller's own bytes.
    this.#store(offset, new Uint8Array(source), false);
  }

  zero(offset: number, lengthBytes: number): void {
    this.#store(offset, new Uint8Array(lengthBytes), false);
  }

  flush(offset: number, lengthBytes: number): void {
    this.#catchUp(offset, lengthBytes);
    this.recording.add({ kind: "flush", thread: this.#thread, offset, lengthBytes });
  }

  fence(): void {
    this.recording.add({ kind: "fence", thread: this.#thread });
  }

  flushAll(): void {
    this.flush(0, this.sizeBytes);
  }

  sync(): void {
    this.flushAll();
    this.fence();
  }

  refuseLost(): void {
    // An array in ordinary memory is not lost.
  }

  close(): void {
    // The image stays: it is what the next owner finds.
  }

  // Writes through views (a Page's bytes) are seen when they are flushed.
  #catchUp(offset: number, lengthBytes: number): void {
    const now = this.recording.image.subarray(offset, offset + lengthBytes);
    const then = this.recording.recorded.subarray(offset, offset + lengthBytes);
    if (Buffer.compare(now, then) !== 0) this.#store(offset, now.slice(), false);
  }

  #store(offset: number, bytes: Uint8Array, atomic: boolean): void {
    this.#refuseOutside(offset, bytes.length);
    this.recording.add({ kind: "store", thread: this.#thread, offset, bytes, atomic });
    this.stores++;
    this.recording.image.set(bytes, offset);
  }

  #refuseOutside(offset: number, lengthBytes: number): void {
    assert(offset >= 0 && offset + lengthBytes <= this.sizeBytes, "an access lies in the memory");
  }
}
