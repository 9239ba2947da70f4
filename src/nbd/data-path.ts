import type { DirectBlocks } from "../device/index.ts";
import { errnoOf } from "../os/index.ts";
import type { Batch } from "./batch.ts";
import { maxPayloadBytes, rangeBytesPerCostByte, requestCostBytes, turnBytes } from "./limits.ts";
import type { Log } from "./log.ts";
import type { Agreement } from "./negotiation.ts";
import { COMMAND, COMMAND_FLAG, NBD_ERROR } from "./protocol.ts";
import { ReadInPlace } from "./read-in-place.ts";
import { Request, requestError } from "./request.ts";
import { deviceError } from "./transmission.ts";
import type { VectorList } from "./vector-list.ts";
import { doneBytes, writeDone } from "./wire.ts";
import { WriteInPlace } from "./write-in-place.ts";

/** Payloads from this length on are worth receives of their own, straight to their places. */
const largePayloadBytes: number = 32 * 1024;
/** Data of a batch behind which no more requests are looked at before it is sent. */
const fullBatchBytes: number = 128 * 1024;
/** Replaced blocks that wait for the batch to be sent: more would be missing where the memory is nearly full. */
const maxHeldPages = 64;
const noRetry = -1;

/**
 * Why the data path stopped: it needs more bytes, the socket takes no more, it is the turn of others, the connection
 * has taken more than limits allow, or the next request is not one for it. What is gathered has been sent then, or is
 * kept by the socket's owner.
 */
export type Pause = "starved" | "blocked" | "tired" | "resting" | "declined";

/** The part of the input that is not used up. */
export interface Cursor {
  start: number;
  end: number;
}

/** Where the data path sends: the connection, as it sees it. */
export interface Outlet {
  readonly fd: number;
  /** Sends these bytes when the socket has room again. */
  keep(bytes: Buffer): void;
  /** Asked after each batch: whether limits of rates want a rest now. */
  rest(): boolean;
}

/**
 * The command phase where blocks stand in memory: READ and WRITE of a connection, many at a time, without an object for
 * any. Everything else, and everything that fails before it begins, is left to `Transmission`.
 */
export class DataPath {
  /** Everything new is declined. */
  draining = false;
  requests = 0;
  bytesSent = 0;
  /** A header that stands for the rest of a WRITE that was declined in the middle; it goes before the cursor. */
  substitute: Buffer | undefined;
  /** How long what was declined is: a request with its payload, or the rest of a payload. */
  declinedBytes = 0;

  readonly #agreement: Agreement;
  readonly #blocks: DirectBlocks;
  readonly #batch: Batch;
  readonly #outlet: Outlet;
  readonly #log: Log;
  readonly #request: Request;
  readonly #reading: ReadInPlace;
  readonly #writing: WriteInPlace;
  #inside = false;
  /** The error that the WRITE in progress will be answered with, and how much of its payload is to be read past. */
  #error: number = NBD_ERROR.NONE;
  #skipBytes = 0;
  /** Where in the input the first request of the batch stands, when all of them can be begun again. */
  #retryFrom: number = noRetry;
  /** What this turn has cost so far, in bytes moved. */
  #costBytes = 0;
  /** The last request was a WRITE whose payload did not come with it: the next one's is not to, either. */
  #expectsPayload = false;

  constructor(agreement: Agreement, blocks: DirectBlocks, outlet: Outlet, { batch, log }: { batch: Batch; log: Log }) {
    const { blockBytes } = agreement.export.device;
    this.#agreement = agreement;
    this.#request = new Request(agreement.extended);
    this.#blocks = blocks;
    this.#batch = batch;
    this.#outlet = outlet;
    this.#log = log;
    this.#reading = new ReadInPlace(blocks, blockBytes, agreement);
    this.#writing = new WriteInPlace(blocks, blockBytes);
  }

  /** A request was begun and not answered. */
  get busy(): boolean {
    return this.#reading.active || this.awaitsPayload;
  }

  /** A client has begun to send a payload. */
  get awaitsPayload(): boolean {
    return this.#writing.active || this.#skipBytes > 0;
  }

  /** Adds the places where the payload in progress belongs. @returns how many bytes those are */
  gatherPlaces(vectors: VectorList): number {
    this.#writing.gather(vectors);
    return vectors.lengthBytes;
  }

  /** How much to receive beside: a payload that stays in the socket needs not be copied to its place. */
  get inputLimit(): number {
    const staysInSocket = this.#expectsPayload && this.#skipBytes === 0;
    return staysInSocket ? this.#request.headerBytes : Number.POSITIVE_INFINITY;
  }

  /** So many bytes came to the places that were gathered. */
  received(lengthBytes: number): void {
    this.#writing.received(lengthBytes);
  }

  /** Others had their turn. */
  beginTurn(): void {
    this.#costBytes = 0;
  }

  /** Serves what is there. @throws SystemCallError, or what a device throws when a reply cannot be finished */
  serve(cursor: Cursor): Pause {
    this.#retryFrom = noRetry;
    try {
      for (;;) {
        const pause = this.#step(cursor) ?? (this.#costBytes >= turnBytes ? "tired" : undefined);
        if (pause !== undefined) return this.#flush() ? pause : "blocked";
        if (!this.#isBatchFull) continue;
        if (!this.#flush()) return "blocked";
        if (this.#outlet.rest()) return "resting";
      }
    } catch (error) {
      if (errnoOf(error) !== "EFAULT" || this.#retryFrom === noRetry) throw error;
      return this.#declineBatch(cursor);
    } finally {
      this.#batch.clear();
      this.#leave();
      this.#blocks.settle();
    }
  }

  /**
   * There is no memory any more where a page was, and nothing of the batch was sent: who serves its requests one by one
   * finds what is wrong, and answers each.
   */
  #declineBatch(cursor: Cursor): Pause {
    this.#reading.abandon();
    this.#writing.abandon();
    this.#skipBytes = 0;
    cursor.start = this.#retryFrom;
    this.#request.decode(this.#batch.bench.input, cursor.start);
    return this.#decline();
  }

  /** Leaves the request that was looked at to others. */
  #decline(): Pause {
    this.declinedBytes = this.#request.headerBytes + this.#request.payloadBytes;
    return "declined";
  }

  /** The connection is gone. */
  abandon(): void {
    this.#writing.abandon();
  }

  get #isBatchFull(): boolean {
    const { lengthBytes, hasRoom } = this.#batch;
    if (lengthBytes >= fullBatchBytes || !hasRoom) return true;
    return this.#inside && this.#blocks.heldPages >= maxHeldPages;
  }

  #step(cursor: Cursor): Pause | undefined {
    if (this.#reading.active) {
      this.#enter();
      // Holes take time, too, though nothing of them is sent.
      this.#costBytes += this.#reading.gather(this.#batch) / rangeBytesPerCostByte;
      return undefined;
    }
    // What follows is the rest of a payload, for whoever takes that over.
    if (this.substitute !== undefined) return "declined";
    if (this.#writing.active) return this.#takePayload(cursor);
    if (this.#skipBytes > 0) return this.#skip(cursor);
    return this.#begin(cursor);
  }

  /** Looks at the next request. Whatever earns an error is declined: who takes it over finds the same. */
  #begin(cursor: Cursor): Pause | undefined {
    if (cursor.end - cursor.start < this.#request.headerBytes) return "starved";
    const request = this.#request;
    const { device } = this.#agreement.export;
    const isOurs =
      request.decode(this.#batch.bench.input, cursor.start) &&
      (request.type === COMMAND.READ || request.type === COMMAND.WRITE) &&
      (request.flags & ~COMMAND_FLAG.FUA) === 0 &&
      request.lengthBytes > 0 &&
      request.payloadBytes <= maxPayloadBytes &&
      !this.draining &&
      requestError(request, device, this.#agreement) === NBD_ERROR.NONE;
    const begun = isOurs && (request.type === COMMAND.READ ? this.#beginRead(request) : this.#beginWrite(request));
    if (!begun) return this.#decline();
    if (this.#batch.lengthBytes === 0) this.#retryFrom = cursor.start;
    this.requests++;
    this.#costBytes += requestCostBytes;
    cursor.start += this.#request.headerBytes;
    return undefined;
  }

  #beginRead(request: Request): boolean {
    try {
      this.#enter();
    } catch {
      return false;
    }
    this.#expectsPayload = false;
    this.#reading.begin(request);
    return true;
  }

  #beginWrite(request: Request): boolean {
    this.#error = NBD_ERROR.NONE;
    this.#expectsPayload = false;
    if (!this.#writing.suits(request)) return false;
    try {
      if (this.#writing.begin(request)) return true;
    } catch {
      // Who takes the request over meets the same error, and answers it.
    }
    this.#writing.abandon();
    return false;
  }

  #takePayload(cursor: Cursor): Pause | undefined {
    const { inputAddress } = this.#batch.bench;
    try {
      if (!this.#writing.prepare()) return this.#declineRest();
      cursor.start += this.#writing.copy(inputAddress + cursor.start, cursor.end - cursor.start);
      this.#writing.finishSlice();
    } catch (cause) {
      this.#fail(cause);
      return undefined;
    }
    if (!this.#writing.active) {
      this.#finishWrite();
      return undefined;
    }
    if (cursor.start < cursor.end) return undefined;
    this.#expectsPayload = this.#request.lengthBytes >= largePayloadBytes;
    return this.#writing.hasPlaces ? "starved" : undefined;
  }

  /** There is no room for fresh blocks: the way without them finds pages that are set aside for overwriting. */
  #declineRest(): Pause {
    const { missingBytes, missingOffset } = this.#writing;
    this.#writing.abandon();
    this.requests--;
    this.declinedBytes = missingBytes;
    this.substitute = this.#request.encodeRest(missingOffset, missingBytes);
    return "declined";
  }

  #flushDevice(): void {
    try {
      this.#agreement.export.device.flush();
    } catch (cause) {
      this.#note(cause);
    }
  }

  #note(cause: unknown): void {
    this.#error = deviceError(cause);
    const { name } = this.#agreement.export;
    this.#log.warn({ export: name, command: this.#request.type, err: cause }, "request failed");
  }

  #fail(cause: unknown): void {
    this.#note(cause);
    this.#skipBytes = this.#writing.missingBytes;
    this.#writing.abandon();
    if (this.#skipBytes === 0) this.#finishWrite();
  }

  #skip(cursor: Cursor): Pause | undefined {
    const skipped = Math.min(this.#skipBytes, cursor.end - cursor.start);
    cursor.start += skipped;
    this.#skipBytes -= skipped;
    if (this.#skipBytes > 0) return "starved";
    this.#finishWrite();
    return undefined;
  }

  #finishWrite(): void {
    if (this.#error === NBD_ERROR.NONE && this.#request.has(COMMAND_FLAG.FUA)) this.#flushDevice();
    const at = this.#batch.addHead(doneBytes(this.#request.extended, this.#error));
    writeDone(this.#batch.bench.heads, at, this.#request, this.#error);
  }

  #enter(): void {
    if (this.#inside) return;
    this.#blocks.enter();
    this.#inside = true;
  }

  #leave(): void {
    if (!this.#inside) return;
    this.#inside = false;
    this.#blocks.leave();
  }

  /** Sends the batch. @returns false when the socket does not take all of it */
  #flush(): boolean {
    const batch = this.#batch;
    if (batch.lengthBytes === 0) return true;
    const sent = batch.send(this.#outlet.fd);
    this.bytesSent += sent;
    this.#costBytes += sent;
    const isSent = batch.lengthBytes === 0;
    if (!isSent) {
      // Data behind the last header are of the READ that is gathered last.
      let kept = Math.max(0, batch.tailAt - sent);
      if (kept < batch.lengthBytes) kept += this.#reading.rewind(Math.max(0, sent - batch.tailAt));
      if (kept > 0) this.#outlet.keep(batch.copyUnsent(kept));
      this.bytesSent += kept;
    }
    batch.clear();
    this.#retryFrom = noRetry;
    this.#leave();
    return isSent;
  }
}
