import { PerdureError } from "../base/index.ts";
import type { BlockDevice, DirectBlocks, Extent, SharedDevice } from "../device/index.ts";

/** A device as those see it who may not change it. Whoever asks for its blocks in memory asks `readOnly` first. */
export class ReadOnlyDevice implements BlockDevice {
  readonly readOnly = true;
  readonly blockBytes: number;
  readonly #device: BlockDevice;

  constructor(device: BlockDevice) {
    this.blockBytes = device.blockBytes;
    this.#device = device;
  }

  get name(): string {
    return this.#device.name;
  }

  get sizeBytes(): number {
    return this.#device.sizeBytes;
  }

  get direct(): DirectBlocks | undefined {
    return this.#device.direct;
  }

  share(): SharedDevice | undefined {
    return this.#device.share?.();
  }

  read(offset: number, target: Uint8Array): void {
    this.#device.read(offset, target);
  }

  extents(offset: number, lengthBytes: number, limit: number): Extent[] {
    return this.#device.extents(offset, lengthBytes, limit);
  }

  flush(): void {
    this.#device.flush();
  }

  write(): void {
    this.#refuse();
  }

  zero(): void {
    this.#refuse();
  }

  trim(): void {
    this.#refuse();
  }

  #refuse(): never {
    throw new PerdureError("READ_ONLY", `"${this.name}" is exported read-only`);
  }
}
