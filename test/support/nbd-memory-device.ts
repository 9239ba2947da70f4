// A block device over a map of blocks: what NBD is tested against. It can be full, it can fail, and it counts.

import { type ErrorCode, PerdureError } from "../../src/base/index.ts";
import type { BlockDevice, Extent } from "../../src/device/index.ts";

export class NbdMemoryDevice implements BlockDevice {
  readonly name: string;
  readonly readOnly: boolean;
  readonly blockBytes: number;
  sizeBytes: number;
  /** Blocks that may exist at a time; writes beyond answer ENOSPC. */
  capacityBlocks = Number.POSITIVE_INFINITY;
  /** Every call throws this code while it is set. */
  failing: ErrorCode | "defect" | undefined;
  /** Calls by name. */
  readonly calls: Record<"read" | "write" | "zero" | "trim" | "flush" | "extents", number> = {
    read: 0,
    write: 0,
    zero: 0,
    trim: 0,
    flush: 0,
    extents: 0,
  };
  /** Told of every call before it is done. */
  onCall: (call: keyof NbdMemoryDevice["calls"]) => void = () => {};
  /** The largest range of a call since the start. */
  largestCallBytes = 0;
  readonly #blocks: Map<number, Uint8Array> = new Map();

  constructor(sizeBytes: number, options: { name?: string; readOnly?: boolean; blockBytes?: number } = {}) {
    this.sizeBytes = sizeBytes;
    this.name = options.name ?? "disk";
    this.readOnly = options.readOnly ?? false;
    this.blockBytes = options.blockBytes ?? 4096;
  }

  read(offset: number, target: Uint8Array): void {
    this.#enter("read", offset, target.length);
    for (const { block, from, at, length } of this.#pieces(offset, target.length)) {
      const stored = this.#blocks.get(block);
      if (stored === undefined) target.fill(0, at, at + length);
      else target.set(stored.subarray(from, from + length), at);
    }
  }

  write(offset: number, source: Uint8Array): void {
    this.#enter("write", offset, source.length);
    this.#refuseWhenReadOnly();
    for (const { block, from, at, length } of this.#pieces(offset, source.length)) {
      this.#allocate(block).set(source.subarray(at, at + length), from);
    }
  }

  zero(offset: number, lengthBytes: number, options: { keepAllocated: boolean }): void {
    this.#enter("zero", offset, lengthBytes);
    this.#clear(offset, lengthBytes, options.keepAllocated);
  }

  trim(offset: number, lengthBytes: number): void {
    this.#enter("trim", offset, lengthBytes);
    this.#clear(offset, lengthBytes, false);
  }

  flush(): void {
    this.#enter("flush", 0, 0);
  }

  extents(offset: number, lengthBytes: number, limit: number): Extent[] {
    this.#enter("extents", offset, lengthBytes);
    const runs: { lengthBytes: number; hole: boolean; zero: boolean }[] = [];
    // With nothing stored there is nothing to look at: tests ask for terabytes.
    if (this.#blocks.size === 0) return [{ lengthBytes, hole: true, zero: true }];
    for (const { block, length } of this.#pieces(offset, lengthBytes)) {
      const hole = !this.#blocks.has(block);
      const last = runs.at(-1);
      if (last?.hole === hole) last.lengthBytes += length;
      else if (runs.length === limit) break;
      else runs.push({ lengthBytes: length, hole, zero: hole });
    }
    return runs;
  }

  #enter(call: keyof NbdMemoryDevice["calls"], offset: number, lengthBytes: number): void {
    this.calls[call]++;
    this.onCall(call);
    this.largestCallBytes = Math.max(this.largestCallBytes, lengthBytes);
    if (offset < 0 || offset + lengthBytes > this.sizeBytes) throw new Error("the range leaves the device");
    if (this.failing === "defect") throw new TypeError("a defect");
    if (this.failing !== undefined) throw new PerdureError(this.failing, "this device was told to fail");
  }

  #refuseWhenReadOnly(): void {
    if (this.readOnly) throw new PerdureError("READ_ONLY", "this device is read-only");
  }

  *#pieces(
    offset: number,
    lengthBytes: number,
  ): Generator<{ block: number; from: number; at: number; length: number }> {
    for (let at = 0; at < lengthBytes; ) {
      const from = (offset + at) % this.blockBytes;
      const length = Math.min(this.blockBytes - from, lengthBytes - at);
      yield { block: Math.floor((offset + at) / this.blockBytes), from, at, length };
      at += length;
    }
  }

  #allocate(block: number): Uint8Array {
    const stored = this.#blocks.get(block);
    if (stored !== undefined) return stored;
    if (this.#blocks.size >= this.capacityBlocks) throw new PerdureError("ENOSPC", "this device is full");
    const fresh = new Uint8Array(this.blockBytes);
    this.#blocks.set(block, fresh);
    return fresh;
  }

  #clear(offset: number, lengthBytes: number, keepAllocated: boolean): void {
    this.#refuseWhenReadOnly();
    if (this.#blocks.size === 0 && !keepAllocated) return;
    for (const { block, from, length } of this.#pieces(offset, lengthBytes)) {
      if (keepAllocated) this.#allocate(block).fill(0, from, from + length);
      else if (length === this.blockBytes) this.#blocks.delete(block);
      else this.#blocks.get(block)?.fill(0, from, from + length);
    }
  }
}
