import { assert } from "../base/index.ts";
import type { Memory, MemoryRange, Survival } from "../memory/index.ts";

const BLOCK_BYTES = 512;

/**
 * A memory as it will be: what is stored stays here, over a memory that nobody changes meanwhile. A repair is planned
 * on it, so that the plan can be analysed before its first store.
 */
export class PlannedMemory implements Memory {
  readonly ranges: readonly MemoryRange[];
  readonly sizeBytes: number;
  readonly readOnly: boolean = true;
  readonly survival: Survival;
  readonly hasWriter: boolean = false;
  /** Stores so far. */
  stores = 0;
  readonly #base: Memory;
  readonly #blocks = new Map<number, Uint8Array>();

  constructor(base: Memory) {
    this.#base = base;
    this.ranges = base.ranges;
    this.sizeBytes = base.sizeBytes;
    this.survival = base.survival;
  }

  /** Where it differs from what it stands on, in steps of 512 bytes and in order: offsets, and how it will be. */
  *changes(): Generator<{ readonly offset: number; readonly bytes: Uint8Array }, void, undefined> {
    for (const block of Array.from(this.#blocks.keys()).sort((a, b) => a - b)) {
      const bytes = this.#blocks.get(block) as Uint8Array;
      const offset = block * BLOCK_BYTES;
      if (Buffer.compare(bytes, this.#base.read(offset, bytes.length)) !== 0) yield { offset, bytes };
    }
  }

  load32(offset: number): number {
    return new DataView(this.read(offset, 4).buffer).getUint32(0, true);
  }

  bytes(offset: number, lengthBytes: number): Uint8Array {
    return this.read(offset, lengthBytes);
  }

  read(offset: number, lengthBytes: number): Uint8Array {
    const target = new Uint8Array(lengthBytes);
    this.readInto(offset, target);
    return target;
  }

  readInto(offset: number, target: Uint8Array): void {
    this.#base.readInto(offset, target);
    if (this.#blocks.size === 0) return;
    const end = offset + target.length;
    for (let block = Math.floor(offset / BLOCK_BYTES); block * BLOCK_BYTES < end; block++) {
      const changed = this.#blocks.get(block);
      if (changed === undefined) continue;
      const from = Math.max(offset, block * BLOCK_BYTES);
      const to = Math.min(end, block * BLOCK_BYTES + changed.length);
      target.set(changed.subarray(from - block * BLOCK_BYTES, to - block * BLOCK_BYTES), from - offset);
    }
  }

  commit32(offset: number, value: number): void {
    this.fill(offset, new Uint8Array(Uint32Array.of(value).buffer));
  }

  commit64(offset: number, low: number, high: number): void {
    this.fill(offset, new Uint8Array(Uint32Array.of(low, high).buffer));
  }

  or32(offset: number, bits: number): void {
    this.commit32(offset, (this.load32(offset) | bits) >>> 0);
  }

  fill(offset: number, source: Uint8Array): void {
    assert(offset >= 0 && offset + source.length <= this.sizeBytes, "an access lies in the memory");
    this.stores++;
    for (let done = 0; done < source.length; ) {
      const block = this.#blockAt(offset + done);
      const within = (offset + done) % BLOCK_BYTES;
      const step = Math.min(block.length - within, source.length - done);
      block.set(source.subarray(done, done + step), within);
      done += step;
    }
  }

  zero(offset: number, lengthBytes: number): void {
    this.fill(offset, new Uint8Array(lengthBytes));
  }

  #blockAt(offset: number): Uint8Array {
    const number = Math.floor(offset / BLOCK_BYTES);
    let block = this.#blocks.get(number);
    if (block === undefined) {
      const start = number * BLOCK_BYTES;
      block = this.#base.read(start, Math.min(BLOCK_BYTES, this.sizeBytes - start));
      this.#blocks.set(number, block);
    }
    return block;
  }

  flush(): void {
    // A plan is no memory: what carries it out flushes.
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

  refuseLost(): void {
    // What is read comes by copy from the memory below.
  }

  close(): void {
    // The memory below belongs to somebody else.
  }
}
