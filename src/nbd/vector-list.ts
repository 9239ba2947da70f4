import { maxVectors, type Scratch, vectorBytes } from "../os/index.ts";

/** A vector with which the next one can be joined may grow to this: the kernel takes 2 GiB a call at most. */
const maxVectorLength = 2 ** 30;

/** Pieces of memory for one call of the kernel: an array of `struct iovec` in memory that it can be told. */
export class VectorList {
  /** Bytes that this takes of a scratch. */
  static readonly sizeBytes: number = maxVectors * vectorBytes;

  count = 0;
  /** Bytes of all pieces. */
  lengthBytes = 0;
  /** Where the first piece that is not done stands. */
  address: number;
  readonly #start: number;
  readonly #words: Uint32Array;
  #first = 0;
  /** Address behind the last piece. */
  #end = 0;

  /** `at` is where in the scratch it stands, a multiple of 8. */
  constructor(scratch: Scratch, at: number) {
    this.#start = scratch.address + at;
    this.address = this.#start;
    this.#words = new Uint32Array(scratch.bytes.buffer, scratch.bytes.byteOffset + at, VectorList.sizeBytes / 4);
  }

  clear(): void {
    this.count = 0;
    this.lengthBytes = 0;
    this.address = this.#start;
    this.#first = 0;
    this.#end = 0;
  }

  /** Pieces that still find room. */
  get room(): number {
    return maxVectors - this.#first - this.count;
  }

  /** Adds a piece; one that adjoins the last piece makes that longer. There must be room. */
  add(address: number, lengthBytes: number): void {
    this.lengthBytes += lengthBytes;
    if (address === this.#end) {
      const at = (this.#first + this.count - 1) * 4 + 2;
      const joined = this.#words[at] + lengthBytes;
      if (joined <= maxVectorLength) {
        this.#words[at] = joined;
        this.#end = address + lengthBytes;
        return;
      }
    }
    this.#write((this.#first + this.count) * 4, address, lengthBytes);
    this.#end = address + lengthBytes;
    this.count++;
  }

  /** The first piece that is not done. */
  firstPiece(): { address: number; length: number } {
    const at = this.#first * 4;
    return { address: this.#words[at] + this.#words[at + 1] * 2 ** 32, length: this.#words[at + 2] };
  }

  /** Forgets the first bytes: the kernel has moved them. */
  drop(lengthBytes: number): void {
    this.lengthBytes -= lengthBytes;
    let left = lengthBytes;
    while (left > 0) {
      const at = this.#first * 4;
      const length = this.#words[at + 2];
      if (length > left) {
        const address = this.#words[at] + this.#words[at + 1] * 2 ** 32 + left;
        this.#write(at, address, length - left);
        return;
      }
      left -= length;
      this.#first++;
      this.count--;
      // There is nothing left that a piece could be joined with.
      if (this.count === 0) this.#end = 0;
      this.address += vectorBytes;
    }
  }

  #write(at: number, address: number, lengthBytes: number): void {
    this.#words[at] = address;
    this.#words[at + 1] = address / 2 ** 32;
    this.#words[at + 2] = lengthBytes;
  }
}
