import { Scratch } from "../os/index.ts";
import { VectorList } from "./vector-list.ts";

/** What one receive may bring: many small requests, or the better part of a large one. */
const inputBytes = 1024 * 1024;
/** Headers of the replies of one batch. */
const headBytes = 64 * 1024;
/** As many as the largest block has. Never stored to, so all of it is one page of the machine. */
const zeroBytes = 2 * 1024 * 1024;

/**
 * Memory that a thread works with while it serves one connection: nothing in it outlives the turn of a connection, so
 * all connections of the thread share it.
 */
export class Workbench implements Disposable {
  readonly #scratch: Scratch;
  /** What was received. */
  readonly input: Buffer;
  readonly inputAddress: number;
  /** Headers of replies. */
  readonly heads: Buffer;
  readonly headsAddress: number;
  /** Zeroes to send. */
  readonly zeroesAddress: number;
  readonly zeroBytes: number = zeroBytes;
  readonly receiving: VectorList;
  readonly sending: VectorList;

  /** @throws SystemCallError ENOMEM */
  constructor() {
    const vectors = VectorList.sizeBytes;
    this.#scratch = new Scratch(inputBytes + headBytes + zeroBytes + 2 * vectors);
    const { address, bytes } = this.#scratch;
    const headsAt = inputBytes;
    const zeroesAt = headsAt + headBytes;
    const vectorsAt = zeroesAt + zeroBytes;
    this.input = bytes.subarray(0, inputBytes);
    this.inputAddress = address;
    this.heads = bytes.subarray(headsAt, zeroesAt);
    this.headsAddress = address + headsAt;
    this.zeroesAddress = address + zeroesAt;
    this.receiving = new VectorList(this.#scratch, vectorsAt);
    this.sending = new VectorList(this.#scratch, vectorsAt + vectors);
  }

  [Symbol.dispose](): void {
    this.#scratch[Symbol.dispose]();
  }
}
