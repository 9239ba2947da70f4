import { fstatSync } from "node:fs";
import { nextHole, punchHole, reserve } from "../os/index.ts";
import { translated } from "./errno.ts";
import type { Space } from "./memory.ts";

/** A chunk of this size is a huge page of the machine; smaller ones would only be more calls. */
const CHUNK_BYTES = 2 * 2 ** 20;

/** The blocks of a file on tmpfs, ext4 or xfs. */
export class FileSpace implements Space {
  readonly chunkBytes: number;
  readonly #fd: number;
  readonly #source: string;
  readonly #sizeBytes: number;

  constructor(fd: number, source: string, sizeBytes: number) {
    this.#fd = fd;
    this.#source = source;
    this.#sizeBytes = sizeBytes;
    this.chunkBytes = Math.max(CHUNK_BYTES, fstatSync(fd).blksize);
  }

  get allocatedBytes(): number {
    return fstatSync(this.#fd).blocks * 512;
  }

  allocate(offset: number, lengthBytes: number): void {
    translated(this.#source, () => reserve(this.#fd, offset, lengthBytes));
  }

  punch(offset: number, lengthBytes: number): void {
    translated(this.#source, () => punchHole(this.#fd, offset, lengthBytes));
  }

  nextHole(offset: number): number {
    return offset >= this.#sizeBytes ? this.#sizeBytes : translated(this.#source, () => nextHole(this.#fd, offset));
  }
}
