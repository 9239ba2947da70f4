import { type Recording, RecordingMemory } from "./recording-memory.ts";

/** A recording memory whose loads are steps, too: for a thread that only reads. */
export class SteppedMemory extends RecordingMemory {
  readonly #pass: () => void;

  /** `pass` is called before every load. */
  constructor(recording: Recording, thread: number, pass: () => void) {
    super(recording, thread);
    this.#pass = pass;
  }

  override load32(offset: number): number {
    this.#pass();
    return super.load32(offset);
  }

  override bytes(offset: number, lengthBytes: number): Uint8Array {
    this.#pass();
    return super.bytes(offset, lengthBytes);
  }
}
