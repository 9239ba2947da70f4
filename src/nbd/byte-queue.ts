import { assert } from "../base/index.ts";
import { dataSliceBytes } from "./limits.ts";

/** Chunks below this are gathered: a peer that sends single bytes must not cost an object for each. */
const smallChunkBytes = 1024;
const gatherBytes = 16 * 1024;

/**
 * Where runs that span chunks are put together. One for all queues: what `take` returns is used up at once, since
 * everything behind it is synchronous.
 */
let assembly: Buffer = Buffer.allocUnsafeSlow(dataSliceBytes);

/** Received bytes in order. Chunks are kept as they came; bytes are copied only when a taken run spans chunks. */
export class ByteQueue {
  #lengthBytes = 0;
  readonly #chunks: Buffer[] = [];
  /** Bytes of the first chunk that were taken already. */
  #taken = 0;
  /** The last chunk, when it is one of ours with room behind its bytes. */
  #gathering: Buffer | undefined;

  get lengthBytes(): number {
    return this.#lengthBytes;
  }

  push(chunk: Buffer): void {
    if (chunk.length === 0) return;
    this.#lengthBytes += chunk.length;
    if (chunk.length < smallChunkBytes && this.#chunks.length > 0) this.#gather(chunk);
    else {
      this.#chunks.push(chunk);
      this.#gathering = undefined;
    }
  }

  #gather(chunk: Buffer): void {
    const last = this.#chunks.length - 1;
    const filled = this.#gathering === undefined ? 0 : this.#chunks[last].length;
    if (this.#gathering === undefined || filled + chunk.length > gatherBytes) {
      this.#gathering = Buffer.allocUnsafeSlow(gatherBytes);
      chunk.copy(this.#gathering);
      this.#chunks.push(this.#gathering.subarray(0, chunk.length));
    } else {
      chunk.copy(this.#gathering, filled);
      this.#chunks[last] = this.#gathering.subarray(0, filled + chunk.length);
    }
  }

  /** Takes the next `count` bytes, which must be there. The result is good until the next `take` of any queue. */
  take(count: number): Buffer {
    assert(count <= this.#lengthBytes, "only bytes that arrived are taken");
    if (count === 0) return assembly.subarray(0, 0);
    const first = this.#chunks[0];
    const start = this.#taken;
    if (first.length - start >= count) {
      this.#advance(count);
      return first.subarray(start, start + count);
    }
    if (assembly.length < count) assembly = Buffer.allocUnsafeSlow(count);
    let filled = 0;
    while (filled < count) {
      const part = this.#chunks[0].copy(assembly, filled, this.#taken, this.#taken + count - filled);
      this.#advance(part);
      filled += part;
    }
    return assembly.subarray(0, count);
  }

  /** Forgets the next bytes, at most `count`, and says how many those were. */
  drop(count: number): number {
    const dropped = Math.min(count, this.#lengthBytes);
    let left = dropped;
    while (left > 0) {
      const part = Math.min(left, this.#chunks[0].length - this.#taken);
      this.#advance(part);
      left -= part;
    }
    return dropped;
  }

  /** Moves on inside the first chunk. */
  #advance(count: number): void {
    this.#taken += count;
    this.#lengthBytes -= count;
    if (this.#taken < this.#chunks[0].length) return;
    // A queue holds a few dozen chunks at most (one slice of a payload), so shifting costs nothing.
    this.#chunks.shift();
    this.#taken = 0;
    if (this.#chunks.length === 0) this.#gathering = undefined;
  }
}
