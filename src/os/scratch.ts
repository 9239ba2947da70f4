import { detach } from "./detach.ts";
import { mapAnonymous, unmap, viewAddress } from "./libc.ts";

/** Memory of one thread at an address that the kernel can be told. */
export class Scratch implements Disposable {
  readonly address: number;
  readonly bytes: Buffer;
  readonly #mapped: bigint;

  /** @throws SystemCallError ENOMEM */
  constructor(lengthBytes: number) {
    this.#mapped = mapAnonymous(lengthBytes);
    this.address = Number(this.#mapped);
    this.bytes = Buffer.from(viewAddress(this.#mapped, lengthBytes));
  }

  [Symbol.dispose](): void {
    const { buffer, length } = this.bytes;
    detach(buffer as ArrayBuffer);
    unmap(this.#mapped, length);
  }
}
