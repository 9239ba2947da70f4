import type { DirectBlocks } from "../device/index.ts";
import type { Batch } from "./batch.ts";
import type { Agreement } from "./negotiation.ts";
import { NBD_ERROR } from "./protocol.ts";
import type { Request } from "./request.ts";
import {
  dataHeadBytes,
  type Echo,
  holeBytes,
  type Run,
  SIMPLE_REPLY,
  writeDataHead,
  writeHole,
  writeSimpleReply,
} from "./wire.ts";

/** Data of one batch: what a socket takes at once, or a little more. */
const batchBytes: number = 512 * 1024;

/**
 * Answers a READ with the blocks of the device from where they stand. What one batch does not take is looked up again
 * for the next one, so that no block waits for a slow client.
 */
export class ReadInPlace {
  readonly #blocks: DirectBlocks;
  readonly #blockBytes: number;
  readonly #inChunks: boolean;
  readonly #echo: { -readonly [Field in keyof Echo]: Echo[Field] };
  readonly #run: { offset: number; lengthBytes: number; done: boolean } = { offset: 0, lengthBytes: 0, done: false };
  /** The next byte of the device, and the end of the request. */
  #at = 0;
  #end = 0;
  /** The client was told of a run of data that ends here. */
  #runEnd = 0;
  /** Where on the device the data start that stand behind the last header of the batch. */
  #tailOffset = 0;

  constructor(blocks: DirectBlocks, blockBytes: number, { structured, extended }: Agreement) {
    this.#blocks = blocks;
    this.#blockBytes = blockBytes;
    this.#inChunks = structured || extended;
    this.#echo = { cookieHigh: 0, cookieLow: 0, offsetHigh: 0, offsetLow: 0, extended };
  }

  /** Whether a reply is not gathered as a whole. */
  get active(): boolean {
    return this.#at < this.#end;
  }

  begin(request: Request): void {
    this.#echo.cookieHigh = request.cookieHigh;
    this.#echo.cookieLow = request.cookieLow;
    this.#echo.offsetHigh = request.offsetHigh;
    this.#echo.offsetLow = request.offsetLow;
    this.#at = request.offset;
    this.#end = request.offset + request.lengthBytes;
    this.#runEnd = this.#at;
  }

  abandon(): void {
    this.#at = this.#end;
  }

  /** Adds as much of the reply as the batch takes. The device must be entered. @returns how far that went, in bytes */
  gather(batch: Batch): number {
    const from = this.#at;
    while (this.#at < this.#end && batch.hasRoom && batch.lengthBytes < batchBytes) {
      if (this.#at < this.#runEnd) this.#gatherRest(batch);
      else if (!this.#inChunks) this.#beginSimple(batch);
      else if (this.#addressAt(this.#at) === 0) this.#tellHole(batch);
      else this.#gatherRun(batch);
    }
    return this.#at - from;
  }

  /**
   * Of the last data that were gathered, only so many bytes were sent. What follows is looked up again, but for a block
   * that was begun: its reader is to get it as it was.
   *
   * @returns how many more bytes of the batch the client is to get
   */
  rewind(sentBytes: number): number {
    const stop = this.#tailOffset + sentBytes;
    const within = stop % this.#blockBytes;
    const begunBytes = sentBytes > 0 && within > 0 ? Math.min(this.#blockBytes - within, this.#at - stop) : 0;
    this.#at = stop + begunBytes;
    return begunBytes;
  }

  #addressAt(offset: number): number {
    return this.#blocks.addressOf(Math.floor(offset / this.#blockBytes));
  }

  /** A simple reply has one header, and all data behind it. */
  #beginSimple(batch: Batch): void {
    const at = batch.addHead(SIMPLE_REPLY.sizeBytes);
    writeSimpleReply(batch.bench.heads, this.#echo, NBD_ERROR.NONE, at);
    this.#runEnd = this.#end;
  }

  /** Data of a run that the client was told of: what has become a hole is sent as zeroes. */
  #gatherRest(batch: Batch): void {
    const { sending, zeroesAddress, zeroBytes } = batch.bench;
    this.#tailOffset = this.#at;
    while (this.#at < this.#runEnd && sending.room > 0 && sending.lengthBytes < batchBytes) {
      const within = this.#at % this.#blockBytes;
      const length = Math.min(this.#blockBytes - within, this.#runEnd - this.#at, zeroBytes);
      const address = this.#addressAt(this.#at);
      sending.add(address === 0 ? zeroesAddress : address + within, length);
      this.#at += length;
    }
  }

  /** A chunk of data as long as there are blocks: its header is written when that is known. */
  #gatherRun(batch: Batch): void {
    const { sending, heads } = batch.bench;
    const at = batch.addHead(dataHeadBytes(this.#echo.extended));
    const offset = this.#at;
    this.#tailOffset = offset;
    while (this.#at < this.#end && sending.room > 0 && sending.lengthBytes < batchBytes) {
      const address = this.#addressAt(this.#at);
      if (address === 0) break;
      const within = this.#at % this.#blockBytes;
      const length = Math.min(this.#blockBytes - within, this.#end - this.#at);
      sending.add(address + within, length);
      this.#at += length;
    }
    this.#runEnd = this.#at;
    writeDataHead(heads, at, this.#echo, this.#runTo(offset));
  }

  #tellHole(batch: Batch): void {
    const offset = this.#at;
    do this.#at += this.#blockBytes - (this.#at % this.#blockBytes);
    while (this.#at < this.#end && this.#addressAt(this.#at) === 0);
    this.#at = Math.min(this.#at, this.#end);
    this.#runEnd = this.#at;
    const at = batch.addHead(holeBytes(this.#echo.extended));
    writeHole(batch.bench.heads, at, this.#echo, this.#runTo(offset));
    this.#tailOffset = this.#at;
  }

  #runTo(offset: number): Run {
    this.#run.offset = offset;
    this.#run.lengthBytes = this.#at - offset;
    this.#run.done = this.#at === this.#end;
    return this.#run;
  }
}
