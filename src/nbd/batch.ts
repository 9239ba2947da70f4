import { copyToBuffer, sendNow } from "../os/index.ts";
import { holeBytes } from "./wire.ts";
import type { Workbench } from "./workbench.ts";

/** The longest header of a reply or chunk. */
const maxHeadBytes: number = holeBytes(true);
/** Pieces that a header and the start of its data need. */
const minRoom = 2;

/** Replies that leave in one call of the kernel: headers of ours, and data from where they stand. */
export class Batch {
  readonly bench: Workbench;
  /** Where the data behind the last header start. */
  tailAt = 0;
  #headBytes = 0;

  constructor(bench: Workbench) {
    this.bench = bench;
  }

  get lengthBytes(): number {
    return this.bench.sending.lengthBytes;
  }

  /** Whether one more header finds room, and a piece of data behind it. */
  get hasRoom(): boolean {
    return this.#headBytes + maxHeadBytes <= this.bench.heads.length && this.bench.sending.room >= minRoom;
  }

  /** Adds a header. @returns where in `bench.heads` it is to be written, before the batch is sent */
  addHead(lengthBytes: number): number {
    const at = this.#headBytes;
    this.bench.sending.add(this.bench.headsAddress + at, lengthBytes);
    this.#headBytes += lengthBytes;
    this.tailAt = this.lengthBytes;
    return at;
  }

  /** Sends what the socket takes at once. @returns how many bytes were sent. @throws SystemCallError */
  send(fd: number): number {
    const { sending } = this.bench;
    const sent = Math.max(0, sendNow(fd, sending.address, sending.count));
    sending.drop(sent);
    return sent;
  }

  /** A copy of the next bytes that were not sent. */
  copyUnsent(lengthBytes: number): Buffer {
    const { sending } = this.bench;
    const copy = Buffer.allocUnsafeSlow(lengthBytes);
    for (let done = 0; done < lengthBytes; ) {
      const { address, length } = sending.firstPiece();
      const part = Math.min(length, lengthBytes - done);
      copyToBuffer(copy.subarray(done, done + part), address);
      sending.drop(part);
      done += part;
    }
    return copy;
  }

  clear(): void {
    this.bench.sending.clear();
    this.#headBytes = 0;
    this.tailAt = 0;
  }
}
