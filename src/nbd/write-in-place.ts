import type { DirectBlocks } from "../device/index.ts";
import { copyMemory } from "../os/index.ts";
import type { Request } from "./request.ts";
import type { VectorList } from "./vector-list.ts";

/** Fresh blocks that wait for a payload: what a client that stops in the middle keeps from others. */
const sliceBytes: number = 256 * 1024;

/**
 * Takes the payload of a WRITE of whole blocks into fresh blocks, which take the places of the old ones when they are
 * full. A slice at a time: what follows a slice finds its place when that is done.
 */
export class WriteInPlace {
  readonly #blocks: DirectBlocks;
  readonly #blockBytes: number;
  /** Fresh blocks of this slice. */
  readonly #drafts: Float64Array;
  #count = 0;
  /** Bytes of this slice that have come. */
  #filled = 0;
  /** The next byte of the device that no slice covers yet, and the end of the request. */
  #at = 0;
  #end = 0;

  constructor(blocks: DirectBlocks, blockBytes: number) {
    this.#blocks = blocks;
    this.#blockBytes = blockBytes;
    this.#drafts = new Float64Array(Math.max(1, Math.floor(sliceBytes / blockBytes)));
  }

  /** Whether a request was begun and is neither in its place nor given up. */
  get active(): boolean {
    return this.#count > 0 || this.#at < this.#end;
  }

  /** Fresh blocks wait for what comes next. */
  get hasPlaces(): boolean {
    return this.#count > 0;
  }

  /** Bytes that are still to come. */
  get missingBytes(): number {
    return this.#end - this.#at + this.#count * this.#blockBytes - this.#filled;
  }

  /** Where on the device they belong. */
  get missingOffset(): number {
    return this.#end - this.missingBytes;
  }

  /** Whether a request can be taken so. */
  suits(request: Request): boolean {
    return request.offset % this.#blockBytes === 0 && request.lengthBytes % this.#blockBytes === 0;
  }

  /** @returns false when there is no room now: the request is to be abandoned, and served in another way */
  begin(request: Request): boolean {
    this.#at = request.offset;
    this.#end = request.offset + request.lengthBytes;
    return this.prepare();
  }

  /**
   * Takes fresh blocks for the next slice, unless there are some.
   *
   * @returns false when there is no room; `missingOffset` and `missingBytes` tell what is left to be done
   * @throws as a device
   */
  prepare(): boolean {
    if (this.#count > 0) return true;
    while (this.#at < this.#end && this.#count < this.#drafts.length) {
      const draft = this.#blocks.take();
      if (draft === 0) break;
      this.#drafts[this.#count++] = draft;
      this.#at += this.#blockBytes;
    }
    return this.#count > 0;
  }

  /** Adds the places of this slice that are not filled to a list. */
  gather(vectors: VectorList): void {
    for (let filled = this.#filled; filled < this.#count * this.#blockBytes && vectors.room > 1; ) {
      const within = filled % this.#blockBytes;
      vectors.add(this.#addressAt(filled), this.#blockBytes - within);
      filled += this.#blockBytes - within;
    }
  }

  /** Copies bytes that were received elsewhere. @returns how many this slice took */
  copy(address: number, lengthBytes: number): number {
    const taken = Math.min(lengthBytes, this.#count * this.#blockBytes - this.#filled);
    for (let done = 0; done < taken; ) {
      const room = this.#blockBytes - (this.#filled % this.#blockBytes);
      const part = Math.min(room, taken - done);
      copyMemory(this.#addressAt(this.#filled), address + done, part);
      done += part;
      this.#filled += part;
    }
    return taken;
  }

  /** The kernel has put so many bytes where `gather` said. */
  received(lengthBytes: number): void {
    this.#filled += lengthBytes;
  }

  /**
   * Puts the slice in its place when it is full.
   *
   * @throws as a device; then whole leading blocks were written, and the request is over
   */
  finishSlice(): void {
    const count = this.#count;
    if (this.#filled < count * this.#blockBytes) return;
    this.#blocks.putAll(this.#at / this.#blockBytes - count, this.#drafts, count);
    this.#count = 0;
    this.#filled = 0;
  }

  /** Gives back what is not in its place. */
  abandon(): void {
    for (let k = 0; k < this.#count; k++) if (this.#drafts[k] !== 0) this.#blocks.giveBack(this.#drafts[k]);
    this.#count = 0;
    this.#filled = 0;
    this.#at = this.#end;
  }

  #addressAt(filled: number): number {
    const draft = this.#drafts[Math.floor(filled / this.#blockBytes)];
    return this.#blocks.addressOfDraft(draft) + (filled % this.#blockBytes);
  }
}
