import { PerdureError } from "../base/index.ts";
import type { Memory, MemoryRange, Space, Survival } from "../memory/index.ts";

/** A call of a memory that can be made to fail. */
export type FailingCall = "read" | "fence" | "sync" | "fill" | "commit";

/** A memory that fails with EIO at the n-th call of a kind; everything else goes to the memory behind it. */
export class FailingMemory implements Memory {
  readonly #memory: Memory;
  #call: FailingCall;
  #left: number;

  /** `nth` counts from 1. */
  constructor(memory: Memory, call: FailingCall, nth: number) {
    this.#memory = memory;
    this.#call = call;
    this.#left = nth;
  }

  /** Plants another failure: at the n-th such call from now on, or nowhere with Infinity. */
  arm(call: FailingCall, nth: number): void {
    this.#call = call;
    this.#left = nth;
  }

  /** True when the failure has happened. */
  get failed(): boolean {
    return this.#left <= 0;
  }

  get ranges(): readonly MemoryRange[] {
    return this.#memory.ranges;
  }

  get sizeBytes(): number {
    return this.#memory.sizeBytes;
  }

  get readOnly(): boolean {
    return this.#memory.readOnly;
  }

  get survival(): Survival {
    return this.#memory.survival;
  }

  get hasWriter(): boolean {
    return this.#memory.hasWriter;
  }

  get space(): Space | undefined {
    return this.#memory.space;
  }

  load32(offset: number): number {
    return this.#memory.load32(offset);
  }

  bytes(offset: number, lengthBytes: number): Uint8Array {
    return this.#memory.bytes(offset, lengthBytes);
  }

  read(offset: number, lengthBytes: number): Uint8Array {
    this.#step("read");
    return this.#memory.read(offset, lengthBytes);
  }

  readInto(offset: number, target: Uint8Array): void {
    this.#step("read");
    this.#memory.readInto(offset, target);
  }

  commit32(offset: number, value: number): void {
    this.#step("commit");
    this.#memory.commit32(offset, value);
  }

  commit64(offset: number, low: number, high: number): void {
    this.#step("commit");
    this.#memory.commit64(offset, low, high);
  }

  or32(offset: number, bits: number): void {
    this.#step("commit");
    this.#memory.or32(offset, bits);
  }

  fill(offset: number, source: Uint8Array): void {
    this.#step("fill");
    this.#memory.fill(offset, source);
  }

  zero(offset: number, lengthBytes: number): void {
    this.#step("fill");
    this.#memory.zero(offset, lengthBytes);
  }

  flush(offset: number, lengthBytes: number): void {
    this.#memory.flush(offset, lengthBytes);
  }

  fence(): void {
    this.#step("fence");
    this.#memory.fence();
  }

  flushAll(): void {
    this.#memory.flushAll();
  }

  sync(): void {
    this.#step("sync");
    this.#memory.sync();
  }

  refuseLost(): void {
    this.#memory.refuseLost();
  }

  close(): void {
    this.#memory.close();
  }

  #step(call: FailingCall): void {
    if (call !== this.#call) return;
    this.#left--;
    if (this.#left === 0) throw new PerdureError("EIO", `the planted failure of a ${call}`);
  }
}
