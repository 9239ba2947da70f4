import { assert } from "../base/index.ts";
import { ImageKey, lineBytes, lineKey } from "./image-key.ts";

/** Bytes that stand at an offset of an image. */
export interface Patch {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/**
 * An image in which one crash state after the other is tried in place: what an attempt stores is taken back when it
 * ends. Copying a whole image for each of millions of states would be most of the work.
 */
export class TrialImage {
  readonly bytes: Uint8Array;
  readonly #words: Uint32Array;
  /** Both halves of the hash of each line. */
  readonly #lines: Int32Array;
  readonly #key = new ImageKey();
  /** What stood where an attempt has stored, in order. */
  readonly #before: Patch[] = [];
  /** Lines whose hash is out of date, because somebody holds a view of them. */
  readonly #viewed = new Set<number>();
  #attempts = 0;

  constructor(start: Uint8Array | TrialImage) {
    this.bytes = new Uint8Array(start instanceof TrialImage ? start.bytes : start);
    assert(this.bytes.length % lineBytes === 0, "an image is a whole number of lines");
    this.#words = new Uint32Array(this.bytes.buffer);
    const count = this.bytes.length / lineBytes;
    this.#lines = start instanceof TrialImage ? start.#lines.slice() : new Int32Array(2 * count);
    if (start instanceof TrialImage) this.#key.toggle(start.key);
    else for (let number = 0; number < count; number++) this.#take(number);
  }

  /** The key of the image as it is now. */
  get key(): ImageKey {
    this.#settle();
    return this.#key;
  }

  /** The key of what matters: lines of which `matters` says so. */
  keyOf(matters: (offset: number) => boolean, blockBytes: number): number {
    this.#settle();
    let a = 0;
    let b = 0;
    const lines = this.#lines;
    for (let offset = 0; offset < this.bytes.length; offset += blockBytes) {
      if (!matters(offset)) continue;
      const end = (2 * Math.min(offset + blockBytes, this.bytes.length)) / lineBytes;
      for (let at = (2 * offset) / lineBytes; at < end; at += 2) {
        a ^= lines[at];
        b ^= lines[at + 1];
      }
    }
    return new ImageKey(a, b).value;
  }

  /** The content of a line, as a copy. */
  line(number: number): Uint8Array {
    return this.bytes.slice(number * lineBytes, (number + 1) * lineBytes);
  }

  store(offset: number, bytes: Uint8Array): void {
    this.#remember(offset, bytes.length);
    this.bytes.set(bytes, offset);
    this.#rehash(offset, bytes.length);
  }

  /** A view that the caller may write to. */
  view(offset: number, lengthBytes: number): Uint8Array {
    if (lengthBytes > 0) {
      this.#remember(offset, lengthBytes);
      const last = Math.floor((offset + lengthBytes - 1) / lineBytes);
      for (let number = Math.floor(offset / lineBytes); number <= last; number++) this.#viewed.add(number);
    }
    return this.bytes.subarray(offset, offset + lengthBytes);
  }

  /** Runs `act`, and takes back whatever it stored. */
  attempt<T>(act: () => T): T {
    const mark = this.#before.length;
    this.#attempts++;
    try {
      return act();
    } finally {
      this.#attempts--;
      this.#settle();
      for (let patch = this.#before.length - 1; patch >= mark; patch--) {
        const { offset, bytes } = this.#before[patch];
        this.bytes.set(bytes, offset);
        this.#rehash(offset, bytes.length);
      }
      this.#before.length = mark;
    }
  }

  #remember(offset: number, lengthBytes: number): void {
    if (this.#attempts > 0) this.#before.push({ offset, bytes: this.bytes.slice(offset, offset + lengthBytes) });
  }

  #rehash(offset: number, lengthBytes: number): void {
    const last = Math.floor((offset + lengthBytes - 1) / lineBytes);
    for (let number = Math.floor(offset / lineBytes); number <= last; number++) {
      this.#key.a ^= this.#lines[2 * number];
      this.#key.b ^= this.#lines[2 * number + 1];
      this.#take(number);
    }
  }

  #take(number: number): void {
    const key = lineKey(number, this.#words, (number * lineBytes) / 4);
    this.#lines[2 * number] = key.a;
    this.#lines[2 * number + 1] = key.b;
    this.#key.toggle(key);
  }

  #settle(): void {
    if (this.#viewed.size === 0) return;
    for (const number of this.#viewed) this.#rehash(number * lineBytes, lineBytes);
    this.#viewed.clear();
  }
}
