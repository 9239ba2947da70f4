import { assert, isPerdureError } from "../base/index.ts";
import type { BlockDevice } from "../device/index.ts";
import type { ByteQueue } from "./byte-queue.ts";
import { ExtentList } from "./extent-list.ts";
import {
  dataSliceBytes,
  maxCompactExtentBytes,
  maxExtents,
  maxPayloadBytes,
  rangeBytesPerCostByte,
  rangeSliceBytes,
  requestCostBytes,
  reservingSliceBytes,
} from "./limits.ts";
import type { Log } from "./log.ts";
import type { Agreement } from "./negotiation.ts";
import type { Phase, Step } from "./phase.ts";
import { COMMAND, COMMAND_FLAG, NBD_ERROR } from "./protocol.ts";
import type { ReplyWriter } from "./reply-writer.ts";
import { Request, requestError } from "./request.ts";
import {
  chunkHeaderBytes,
  DATA_PAYLOAD,
  pushErrorChunk,
  pushHoleChunk,
  pushNoneChunk,
  pushSimpleReply,
  pushStatusChunk,
  SIMPLE_REPLY,
  STATUS_FILTER,
  writeDataChunk,
  writeSimpleReply,
} from "./wire.ts";

/**
 * The command phase: requests in, replies out, one request at a time and in order. Long requests are worked off in
 * slices, one a step, so that whoever drives the steps can serve others in between.
 *
 *     header -> work -------------------> reply
 *        \   -> payload (WRITE, in slices) -^
 *         \  -> filter (BLOCK_STATUS) -> work
 *          \ -> refused payload (read past) -^
 */
export class Transmission implements Phase {
  costBytes = 0;
  draining = false;
  /** Requests taken so far. */
  requests = 0;

  readonly #agreement: Agreement;
  readonly #device: BlockDevice;
  readonly #log: Log;
  readonly #request: Request;
  #awaits: "header" | "payload" | "filter" | "work" = "header";
  /** Bytes of the request's range (or payload) that are behind us. */
  #doneBytes = 0;
  /** The error that the request will be answered with; a payload is read past once it is set. */
  #error: number = NBD_ERROR.NONE;
  /** The reply of a READ that is answered whole, while it is filled. */
  #wholeReply: Buffer | undefined;
  /** What a BLOCK_STATUS found so far. */
  #extents: ExtentList | undefined;

  constructor(agreement: Agreement, log: Log) {
    this.#agreement = agreement;
    this.#device = agreement.export.device;
    this.#log = log;
    this.#request = new Request(agreement.extended);
  }

  get busy(): boolean {
    return this.#awaits !== "header";
  }

  step(queue: ByteQueue, out: ReplyWriter): Step {
    this.costBytes = 0;
    if (this.#awaits === "header") {
      const { headerBytes } = this.#request;
      if (queue.lengthBytes < headerBytes) return "starved";
      const step = this.#begin(queue.take(headerBytes));
      if (step !== "more") return step;
    }
    if (this.#awaits === "filter") return this.#readFilter(queue, out);
    if (this.#awaits === "payload") return this.#storePayload(queue, out);
    this.#work(out);
    return "more";
  }

  /** Reads a request and decides how it goes on. */
  #begin(header: Buffer): Step {
    const request = this.#request;
    if (!request.decode(header)) return "violation";
    // Requests are worked off in order, so everything before a DISC has been answered.
    if (request.type === COMMAND.DISC) return "end";
    if (request.payloadBytes > maxPayloadBytes) return "violation";
    this.requests++;
    this.costBytes = requestCostBytes;
    this.#doneBytes = 0;
    this.#awaits = request.type === COMMAND.WRITE || request.payloadBytes > 0 ? "payload" : "work";
    if (this.draining) this.#error = NBD_ERROR.ESHUTDOWN;
    else if (request.isFiltered) this.#awaits = "filter";
    else this.#error = requestError(request, this.#device, this.#agreement);
    return "more";
  }

  /** Reads the payload of a BLOCK_STATUS, which is then the same as one without. */
  #readFilter(queue: ByteQueue, out: ReplyWriter): Step {
    const request = this.#request;
    if (queue.lengthBytes < request.payloadBytes) return "starved";
    const known = request.applyFilter(queue.take(request.payloadBytes));
    this.#error = known ? requestError(request, this.#device, this.#agreement) : NBD_ERROR.EINVAL;
    this.#awaits = "work";
    // Who asks about no context at all is told nothing.
    if (request.payloadBytes === STATUS_FILTER.ids) this.#finish(out);
    return "more";
  }

  /** Stores the next slice of a WRITE's payload as soon as all of it is there, or reads past it after an error. */
  #storePayload(queue: ByteQueue, out: ReplyWriter): Step {
    const { offset, payloadBytes } = this.#request;
    if (this.#error !== NBD_ERROR.NONE) {
      this.#doneBytes += queue.drop(payloadBytes - this.#doneBytes);
      if (this.#doneBytes < payloadBytes) return "starved";
    } else {
      const slice = this.#sliceBytes(dataSliceBytes);
      if (queue.lengthBytes < slice) return "starved";
      const payload = queue.take(slice);
      if (slice > 0) this.#attempt(() => this.#device.write(offset + this.#doneBytes, payload));
      this.#doneBytes += slice;
      this.costBytes += slice;
    }
    if (this.#doneBytes === payloadBytes) this.#finishChange(out);
    return "more";
  }

  /** Does the next slice of a request without payload. */
  #work(out: ReplyWriter): void {
    if (this.#error !== NBD_ERROR.NONE) {
      this.#finish(out);
      return;
    }
    switch (this.#request.type) {
      case COMMAND.READ:
        this.#read(out);
        break;
      case COMMAND.TRIM:
        this.#changeRange(out, rangeSliceBytes, (at, slice) => this.#device.trim(at, slice));
        break;
      case COMMAND.WRITE_ZEROES:
        this.#writeZeroes(out);
        break;
      case COMMAND.BLOCK_STATUS:
        this.#blockStatus(out);
        break;
      case COMMAND.FLUSH:
        this.#attempt(() => this.#flush());
        this.#finish(out);
        break;
      default:
        // CACHE: a disk in memory is its own cache.
        this.#finish(out);
    }
  }

  /** Runs a call of the device; an error becomes the answer to the request and nothing more. */
  #attempt(call: () => void): void {
    try {
      call();
    } catch (cause) {
      this.#error = deviceError(cause);
      this.#log.warn(
        { export: this.#agreement.export.name, command: this.#request.type, err: cause },
        "request failed",
      );
    }
  }

  #flush(): void {
    if (!this.#device.readOnly) this.#device.flush();
  }

  /** The next slice: at most `maxBytes`, ending on a border of blocks so that none is changed in two parts. */
  #sliceBytes(maxBytes: number): number {
    const left = this.#request.lengthBytes - this.#doneBytes;
    const whole = Math.max(maxBytes, this.#device.blockBytes);
    if (left <= whole) return left;
    return whole - ((this.#request.offset + this.#doneBytes) % this.#device.blockBytes);
  }

  #changeRange(out: ReplyWriter, maxBytes: number, change: (at: number, slice: number) => void): void {
    const slice = this.#sliceBytes(maxBytes);
    if (slice > 0) this.#attempt(() => change(this.#request.offset + this.#doneBytes, slice));
    this.#doneBytes += slice;
    this.costBytes += slice / rangeBytesPerCostByte;
    if (this.#error !== NBD_ERROR.NONE || this.#doneBytes === this.#request.lengthBytes) this.#finishChange(out);
  }

  #writeZeroes(out: ReplyWriter): void {
    const keepAllocated = this.#request.has(COMMAND_FLAG.NO_HOLE);
    const before = this.#doneBytes;
    this.#changeRange(out, keepAllocated ? reservingSliceBytes : rangeSliceBytes, (at, slice) =>
      this.#device.zero(at, slice, { keepAllocated }),
    );
    if (keepAllocated) this.costBytes += this.#doneBytes - before;
  }

  /** Answers a request that changed something, after making the change durable when the client asked for that. */
  #finishChange(out: ReplyWriter): void {
    if (this.#error === NBD_ERROR.NONE && this.#request.has(COMMAND_FLAG.FUA)) this.#attempt(() => this.#flush());
    this.#finish(out);
  }

  /** Answers the request with what it came to, and turns to the next one. */
  #finish(out: ReplyWriter): void {
    const { extended, structured } = this.#agreement;
    const failed = this.#error !== NBD_ERROR.NONE;
    // With structured replies a READ must never get a simple one, not even for an error; with extended headers nothing.
    const asChunk = extended || (structured && failed && answersInChunks(this.#request.type));
    if (!asChunk) pushSimpleReply(out, this.#request, this.#error);
    else if (failed) pushErrorChunk(out, this.#request, this.#error);
    else pushNoneChunk(out, this.#request);
    this.#next();
  }

  #next(): void {
    this.#awaits = "header";
    this.#wholeReply = undefined;
    this.#extents = undefined;
  }

  #read(out: ReplyWriter): void {
    const { structured } = this.#agreement;
    if (structured && this.#request.lengthBytes === 0) {
      // A data chunk holds at least one byte.
      pushNoneChunk(out, this.#request);
      this.#next();
      return;
    }
    const inRuns = structured && !this.#request.has(COMMAND_FLAG.DF);
    this.#attempt(() => (inRuns ? this.#readRun(out) : this.#readWhole(out)));
    if (this.#error !== NBD_ERROR.NONE) this.#finish(out);
  }

  /** What stands before the data of a chunk. */
  get #dataHeaderBytes(): number {
    return chunkHeaderBytes(this.#agreement.extended) + DATA_PAYLOAD.sizeBytes;
  }

  /** The next slice of a READ whose data go out in one piece, and only when all of them were read without error. */
  #readWhole(out: ReplyWriter): void {
    const { structured } = this.#agreement;
    const { offset, lengthBytes } = this.#request;
    const headerBytes = structured ? this.#dataHeaderBytes : SIMPLE_REPLY.sizeBytes;
    this.#wholeReply ??= out.allocate(headerBytes + lengthBytes);
    const slice = this.#sliceBytes(dataSliceBytes);
    const at = headerBytes + this.#doneBytes;
    if (slice > 0) this.#device.read(offset + this.#doneBytes, this.#wholeReply.subarray(at, at + slice));
    this.#doneBytes += slice;
    this.costBytes += slice;
    if (this.#doneBytes < lengthBytes) return;
    if (structured) writeDataChunk(this.#wholeReply, this.#request, offset, true);
    else writeSimpleReply(this.#wholeReply, this.#request, NBD_ERROR.NONE);
    out.push(this.#wholeReply);
    this.#next();
  }

  /** One chunk of a READ: a run of data, or a run of zeroes that is only named. */
  #readRun(out: ReplyWriter): void {
    const at = this.#request.offset + this.#doneBytes;
    const [run] = this.#device.extents(at, this.#sliceBytes(dataSliceBytes), 1);
    assert(run.lengthBytes > 0, "a device knows the state of each of its bytes");
    const done = this.#doneBytes + run.lengthBytes === this.#request.lengthBytes;
    if (run.zero) {
      pushHoleChunk(out, this.#request, at, run.lengthBytes, done);
    } else {
      const frame = out.allocate(this.#dataHeaderBytes + run.lengthBytes);
      this.#device.read(at, frame.subarray(this.#dataHeaderBytes));
      writeDataChunk(frame, this.#request, at, done);
      out.push(frame);
      this.costBytes += run.lengthBytes;
    }
    this.costBytes += requestCostBytes;
    this.#doneBytes += run.lengthBytes;
    if (done) this.#next();
  }

  /** Looks at the next slice of a BLOCK_STATUS; it ends with the range, or with as many extents as are told at once. */
  #blockStatus(out: ReplyWriter): void {
    const maxExtentBytes = this.#agreement.extended ? Number.MAX_SAFE_INTEGER : maxCompactExtentBytes;
    this.#extents ??= new ExtentList(this.#request.has(COMMAND_FLAG.REQ_ONE) ? 1 : maxExtents, maxExtentBytes);
    const extents = this.#extents;
    const slice = this.#sliceBytes(rangeSliceBytes);
    let complete = false;
    this.#attempt(() => {
      // The first run may only lengthen the last extent, hence one more than there is room for.
      for (const run of this.#device.extents(this.#request.offset + this.#doneBytes, slice, extents.room + 1)) {
        complete = !extents.add(run);
        if (complete) break;
        this.#doneBytes += run.lengthBytes;
      }
    });
    this.costBytes += slice / rangeBytesPerCostByte;
    if (this.#error !== NBD_ERROR.NONE) {
      this.#finish(out);
    } else if (complete || this.#doneBytes === this.#request.lengthBytes) {
      pushStatusChunk(out, this.#request, extents.words);
      this.#next();
    }
  }
}

function answersInChunks(type: number): boolean {
  return type === COMMAND.READ || type === COMMAND.BLOCK_STATUS;
}

/** The error number for what a device threw. */
export function deviceError(cause: unknown): number {
  // The protocol knows no EDQUOT.
  if (isPerdureError(cause, "ENOSPC") || isPerdureError(cause, "EDQUOT")) return NBD_ERROR.ENOSPC;
  return isPerdureError(cause, "READ_ONLY") ? NBD_ERROR.EPERM : NBD_ERROR.EIO;
}
