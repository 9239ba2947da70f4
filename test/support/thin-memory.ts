// A recorded memory with holes: what a real one would answer with SIGBUS is an exception here.

import { PerdureError } from "../../src/base/index.ts";
import type { Space } from "../../src/memory/index.ts";
import { Recording, RecordingMemory } from "../../src/testing/index.ts";

const blockBytes = 512;

/** A load or store of a byte that no backing holds: it would have ended the process. */
export class HoleTouched extends Error {}

/** A recorded memory whose backing is allocated in chunks, from a file system with little room. */
export class ThinMemory extends RecordingMemory implements Space {
  readonly chunkBytes: number;
  /** Blocks that the file system has left. */
  roomBlocks: number = Number.POSITIVE_INFINITY;
  /** Calls so far. */
  readonly calls: { allocate: number; punch: number } = { allocate: 0, punch: 0 };
  readonly #backed: Uint8Array;

  private constructor(recording: Recording, chunkBytes: number, backed: Uint8Array) {
    super(recording);
    this.chunkBytes = chunkBytes;
    this.#backed = backed;
  }

  /** A file of holes. */
  static blankFile(lengthBytes: number, chunkBytes: number): ThinMemory {
    const backed = new Uint8Array(lengthBytes / blockBytes);
    return new ThinMemory(new Recording(new Uint8Array(lengthBytes)), chunkBytes, backed);
  }

  /** A copy of an image in which every block of zeroes is a hole: as few are backed as any copying program leaves. */
  static sparseCopy(image: Uint8Array, chunkBytes: number): ThinMemory {
    const blocks = Array.from({ length: image.length / blockBytes }, (_, k) => k * blockBytes);
    const backed = blocks.map((at) => (image.subarray(at, at + blockBytes).some((byte) => byte !== 0) ? 1 : 0));
    return new ThinMemory(new Recording(image.slice()), chunkBytes, Uint8Array.from(backed));
  }

  get space(): Space {
    return this;
  }

  get allocatedBytes(): number {
    return this.#backed.reduce((sum, one) => sum + one, 0) * blockBytes;
  }

  /** True when a whole range is backed. */
  isBacked(offset: number, lengthBytes: number): boolean {
    const end = Math.ceil((offset + lengthBytes) / blockBytes);
    return this.#backed.subarray(Math.floor(offset / blockBytes), end).every((one) => one === 1);
  }

  allocate(offset: number, lengthBytes: number): void {
    const range = this.#backed.subarray(
      Math.floor(offset / blockBytes),
      Math.ceil((offset + lengthBytes) / blockBytes),
    );
    const wanted = range.reduce((sum, one) => sum + 1 - one, 0);
    if (wanted > this.roomBlocks) throw new PerdureError("ENOSPC", "the file system is full");
    this.roomBlocks -= wanted;
    range.fill(1);
    this.calls.allocate++;
  }

  punch(offset: number, lengthBytes: number): void {
    const first = Math.ceil(offset / blockBytes);
    const end = Math.floor((offset + lengthBytes) / blockBytes);
    const range = this.#backed.subarray(first, end);
    this.roomBlocks += range.reduce((sum, one) => sum + one, 0);
    for (let block = first; block < end; block++) {
      if (this.#backed[block] === 1) super.zero(block * blockBytes, blockBytes);
    }
    range.fill(0);
    this.calls.punch++;
  }

  nextHole(offset: number): number {
    const found = this.#backed.indexOf(0, Math.floor(offset / blockBytes));
    return found < 0 ? this.sizeBytes : Math.max(offset, found * blockBytes);
  }

  override load32(offset: number): number {
    this.#touch(offset, 4);
    return super.load32(offset);
  }

  override bytes(offset: number, lengthBytes: number): Uint8Array {
    this.#touch(offset, lengthBytes);
    return super.bytes(offset, lengthBytes);
  }

  // As pread(2) does it: a hole reads as zeroes.
  override read(offset: number, lengthBytes: number): Uint8Array {
    return super.bytes(offset, lengthBytes).slice();
  }

  override readInto(offset: number, target: Uint8Array): void {
    target.set(super.bytes(offset, target.length));
  }

  override commit32(offset: number, value: number): void {
    this.#touch(offset, 4);
    super.commit32(offset, value);
  }

  override commit64(offset: number, low: number, high: number): void {
    this.#touch(offset, 8);
    super.commit64(offset, low, high);
  }

  override fill(offset: number, source: Uint8Array): void {
    this.#touch(offset, source.length);
    super.fill(offset, source);
  }

  override zero(offset: number, lengthBytes: number): void {
    this.#touch(offset, lengthBytes);
    super.zero(offset, lengthBytes);
  }

  #touch(offset: number, lengthBytes: number): void {
    if (!this.isBacked(offset, lengthBytes)) throw new HoleTouched(`bytes ${offset} to ${offset + lengthBytes}`);
  }
}
