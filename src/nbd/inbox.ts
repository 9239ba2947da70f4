import type { Socket } from "node:net";
import { ByteQueue } from "./byte-queue.ts";

/** What a socket receives, by exact counts: for handshakes, in which each side waits for the other. */
export class Inbox {
  readonly #socket: Socket;
  readonly #queue: ByteQueue = new ByteQueue();
  #ended = false;
  #error: Error | undefined;
  #wake: () => void = () => {};

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", this.#received);
    socket.on("end", this.#stopped);
    socket.on("error", this.#failed);
    socket.on("close", this.#stopped);
  }

  readonly #received = (chunk: Buffer): void => {
    this.#queue.push(chunk);
    this.#wake();
  };

  readonly #failed = (error: Error): void => {
    this.#error = error;
  };

  readonly #stopped = (): void => {
    this.#ended = true;
    this.#wake();
  };

  /** The next `count` bytes, as a copy. @throws Error when the connection ends before */
  async read(count: number): Promise<Buffer> {
    while (this.#queue.lengthBytes < count) {
      if (this.#ended) throw this.#error ?? new Error("the peer hung up");
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return Buffer.from(this.#queue.take(count));
  }

  /** Lets the socket go to whoever listens to it next. @returns what came behind what was read */
  release(): Buffer {
    this.#socket.off("data", this.#received);
    this.#socket.off("end", this.#stopped);
    this.#socket.off("error", this.#failed);
    this.#socket.off("close", this.#stopped);
    return Buffer.from(this.#queue.take(this.#queue.lengthBytes));
  }
}
