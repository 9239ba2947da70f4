import { allocate, punch, system } from "../os/index.ts";
import { translated, translatedToEio } from "./errno.ts";
import type { Space } from "./memory.ts";

/** A chunk of this size is a huge page of the machine; smaller ones would only be more calls. */
const CHUNK_BYTES = 2 * 2 ** 20;

/** The blocks of a file on tmpfs, ext4 or xfs. */
export class FileSpace implements Space {
  readonly #fd: number;
  readonly #source: string;
  readonly #sizeBytes: number;

  constructor(fd: number, source: string, sizeBytes: number) {
    this.#fd = fd;
    this.#source = source;
    this.#sizeBytes = sizeBytes;
  }

  get chunkBytes(): number {
    return Math.max(CHUNK_BYTES, translated(this.#source, () => system.fstat(this.#fd)).blksize);
  }

  get allocatedBytes(): number {
    return translatedToEio(this.#source, () => system.fstat(this.#fd)).blocks * 512;
  }

  allocate(offset: number, lengthBytes: number): void {
    translated(this.#source, () => allocate(this.#fd, offset, lengthBytes));
  }

  punch(offset: number, lengthBytes: number): void {
    translated(this.#source, () => punch(this.#fd, offset, lengthBytes));
  }

  nextHole(offset: number): number {
    return offset >= this.#sizeBytes
      ? this.#sizeBytes
      : translated(this.#source, () => system.nextHole(this.#fd, offset));
  }
}
