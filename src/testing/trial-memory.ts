import { assert } from "../base/index.ts";
import type { Memory, MemoryRange, Survival } from "../memory/index.ts";
import type { TrialImage } from "./trial-image.ts";

const pair = new Uint32Array(2);
const pairBytes = new Uint8Array(pair.buffer);
const word = pairBytes.subarray(0, 4);

/** A memory over an image on trial: what the next owner stores there is taken back when the attempt ends. */
export class TrialMemory implements Memory {
  readonly ranges: readonly MemoryRange[];
  readonly sizeBytes: number;
  readonly readOnly: boolean = false;
  readonly hasWriter: boolean = false;
  readonly survival: Survival = { crash: true, lastClose: false, powerLoss: true };
  readonly #image: TrialImage;
  readonly #words: Uint32Array;

  constructor(image: TrialImage) {
    this.#image = image;
    this.#words = new Uint32Array(image.bytes.buffer);
    this.sizeBytes = image.bytes.length;
    this.ranges = [{ offset: 0, lengthBytes: this.sizeBytes, source: "image of a crash" }];
  }

  load32(offset: number): number {
    this.#refuseOutside(offset, 4);
    return this.#words[offset / 4];
  }

  bytes(offset: number, lengthBytes: number): Uint8Array {
    this.#refuseOutside(offset, lengthBytes);
    return this.#image.view(offset, lengthBytes);
  }

  read(offset: number, lengthBytes: number): Uint8Array {
    this.#refuseOutside(offset, lengthBytes);
    return this.#image.bytes.slice(offset, offset + lengthBytes);
  }

  readInto(offset: number, target: Uint8Array): void {
    this.#refuseOutside(offset, target.length);
    target.set(this.#image.bytes.subarray(offset, offset + target.length));
  }

  commit32(offset: number, value: number): void {
    assert(offset % 4 === 0, "a 32-bit commit is aligned");
    pair[0] = value;
    this.fill(offset, word);
  }

  commit64(offset: number, low: number, high: number): void {
    assert(offset % 8 === 0, "a 64-bit commit is aligned");
    pair[0] = low;
    pair[1] = high;
    this.fill(offset, pairBytes);
  }

  or32(offset: number, bits: number): void {
    this.commit32(offset, this.load32(offset) | bits);
  }

  fill(offset: number, source: Uint8Array): void {
    this.#refuseOutside(offset, source.length);
    this.#image.store(offset, source);
  }

  zero(offset: number, lengthBytes: number): void {
    this.fill(offset, new Uint8Array(lengthBytes));
  }

  flush(): void {
    // Nobody cuts the power of an attempt: those images are made from recorded stores.
  }

  fence(): void {
    // As above.
  }

  flushAll(): void {
    // As above.
  }

  sync(): void {
    // As above.
  }

  close(): void {
    // The image belongs to whoever tries it.
  }

  #refuseOutside(offset: number, lengthBytes: number): void {
    assert(offset >= 0 && offset + lengthBytes <= this.sizeBytes, "an access lies in the memory");
  }
}
