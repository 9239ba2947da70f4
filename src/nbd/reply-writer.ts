/** Small frames share slabs of this size, larger ones get a buffer of their own. */
const slabBytes = 64 * 1024;
const smallFrameBytes = 16 * 1024;

/**
 * One slab for all connections: frames are allocated and collected within one turn, so those of a connection stand
 * side by side and leave in one write. A slab is never reused, since sockets may still hold parts of it.
 */
let slab: Buffer = Buffer.allocUnsafeSlow(slabBytes);
let slabUsed = 0;

/** Collects the frames of a turn, so that a burst of small replies leaves in one write. */
export class ReplyWriter {
  /** Bytes collected and not yet given out. */
  collectedBytes = 0;
  #buffers: Buffer[] = [];
  /** The run of adjoining frames at the end of the collection. */
  #runSlab: Buffer | undefined;
  #runStart = 0;
  #runEnd = 0;

  /** Room for one frame with undefined content. It is sent only if it is pushed. */
  allocate(lengthBytes: number): Buffer {
    if (lengthBytes > smallFrameBytes) return Buffer.allocUnsafeSlow(lengthBytes);
    if (slabUsed + lengthBytes > slabBytes) {
      slab = Buffer.allocUnsafeSlow(slabBytes);
      slabUsed = 0;
    }
    const frame = slab.subarray(slabUsed, slabUsed + lengthBytes);
    slabUsed += lengthBytes;
    return frame;
  }

  /** Adds a frame to what will be sent. Its bytes may not change any more. */
  push(frame: Buffer): void {
    this.collectedBytes += frame.length;
    if (frame.buffer === this.#runSlab?.buffer && frame.byteOffset === this.#runEnd) {
      this.#runEnd += frame.length;
      return;
    }
    this.#closeRun();
    if (frame.buffer === slab.buffer) {
      this.#runSlab = slab;
      this.#runStart = frame.byteOffset;
      this.#runEnd = frame.byteOffset + frame.length;
    } else {
      this.#buffers.push(frame);
    }
  }

  /** Everything collected, in order; the collection is empty afterwards. */
  takeAll(): Buffer[] {
    this.#closeRun();
    const buffers = this.#buffers;
    this.#buffers = [];
    this.collectedBytes = 0;
    return buffers;
  }

  #closeRun(): void {
    if (this.#runSlab === undefined) return;
    this.#buffers.push(this.#runSlab.subarray(this.#runStart, this.#runEnd));
    this.#runSlab = undefined;
  }
}
