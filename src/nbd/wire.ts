import {
  ALLOCATION_CONTEXT_ID,
  CHUNK_FLAG,
  CHUNK_MAGIC,
  CHUNK_TYPE,
  EXTENDED_CHUNK_MAGIC,
  HANDSHAKE,
  HELLO_MAGIC,
  INFO,
  OPTION_MAGIC,
  OPTION_REPLY_MAGIC,
  SIMPLE_REPLY_MAGIC,
} from "./protocol.ts";
import type { ReplyWriter } from "./reply-writer.ts";

/*
 * The frames, each declared as a table: where a field starts, and how long the fixed part is. Sixty-four-bit fields
 * are two words, since JavaScript's numbers end at 2^53.
 */

/** What opens an option of the client; its data follow. */
export const OPTION_HEADER = { magicHigh: 0, magicLow: 4, option: 8, length: 12, sizeBytes: 16 } as const;
/** What opens a reply to an option; its data follow. */
export const OPTION_REPLY = { magicHigh: 0, magicLow: 4, option: 8, type: 12, length: 16, sizeBytes: 20 } as const;
/** Data of INFO about size and abilities. */
export const EXPORT_INFO = { type: 0, sizeHigh: 2, sizeLow: 6, flags: 10, sizeBytes: 12 } as const;
/** A request in the compact form; the payload of a WRITE follows. */
export const REQUEST = {
  magic: 0,
  flags: 4,
  type: 6,
  cookieHigh: 8,
  cookieLow: 12,
  offsetHigh: 16,
  offsetLow: 20,
  length: 24,
  sizeBytes: 28,
} as const;
/** A request with an extended header: the compact one with a longer length; a payload follows if it says so. */
export const EXTENDED_REQUEST = { lengthHigh: 24, lengthLow: 28, sizeBytes: 32 } as const;
/** The payload of a BLOCK_STATUS that names contexts; the number of their ids follows from its length. */
export const STATUS_FILTER = { lengthHigh: 0, lengthLow: 4, ids: 8, idBytes: 4 } as const;
/** A simple reply; the data of a READ that succeeded follow. */
export const SIMPLE_REPLY = { magic: 0, error: 4, cookieHigh: 8, cookieLow: 12, sizeBytes: 16 } as const;
/** What opens a structured reply chunk; its payload follows. */
export const CHUNK = { magic: 0, flags: 4, type: 6, cookieHigh: 8, cookieLow: 12, length: 16, sizeBytes: 20 } as const;
/** The same with an extended header, which repeats the offset of the request. */
export const EXTENDED_CHUNK = {
  magic: 0,
  flags: 4,
  type: 6,
  cookieHigh: 8,
  cookieLow: 12,
  offsetHigh: 16,
  offsetLow: 20,
  lengthHigh: 24,
  lengthLow: 28,
  sizeBytes: 32,
} as const;

/* Payloads of chunks, from the end of the header on. */

/** OFFSET_DATA up to its data. */
export const DATA_PAYLOAD = { offset: 0, sizeBytes: 8 } as const;
/** OFFSET_HOLE. */
export const HOLE_PAYLOAD = { offset: 0, length: 8, sizeBytes: 12 } as const;
/** ERROR without a message. */
export const ERROR_PAYLOAD = { error: 0, messageLength: 4, sizeBytes: 6 } as const;
/** BLOCK_STATUS up to its extents, each of which is a length and a state of 32 bits. */
export const STATUS_PAYLOAD = { context: 0, sizeBytes: 4, extentBytes: 8 } as const;
/** BLOCK_STATUS_EXT up to its extents, each of which is a length and a state of 64 bits. */
export const STATUS_EXT_PAYLOAD = { context: 0, count: 4, sizeBytes: 8, extentBytes: 16 } as const;

/** The answer to EXPORT_NAME ends in this many zeroes, unless the client agreed to do without. */
const EXPORT_NAME_ZEROES = 124;

/** What a reply echoes so that the client knows the request that it answers. */
export interface Echo {
  readonly cookieHigh: number;
  readonly cookieLow: number;
  /** Repeated by extended headers only. */
  readonly offsetHigh: number;
  readonly offsetLow: number;
  /** Which headers were agreed on. */
  readonly extended: boolean;
}

function writeU64(frame: Buffer, at: number, value: number): void {
  frame.writeUInt32BE(Math.floor(value / 2 ** 32), at);
  frame.writeUInt32BE(value % 2 ** 32, at + 4);
}

/** The first words of every connection. */
export function pushHello(out: ReplyWriter): void {
  const frame = out.allocate(HELLO_MAGIC.length + 2);
  frame.write(HELLO_MAGIC, "latin1");
  frame.writeUInt16BE(HANDSHAKE.FIXED_NEWSTYLE | HANDSHAKE.NO_ZEROES, HELLO_MAGIC.length);
  out.push(frame);
}

/** What opens an option, as a client sends it. */
export function encodeOptionHeader(option: number, lengthBytes: number): Buffer {
  const header = Buffer.alloc(OPTION_HEADER.sizeBytes);
  header.writeUInt32BE(OPTION_MAGIC.high, OPTION_HEADER.magicHigh);
  header.writeUInt32BE(OPTION_MAGIC.low, OPTION_HEADER.magicLow);
  header.writeUInt32BE(option, OPTION_HEADER.option);
  header.writeUInt32BE(lengthBytes, OPTION_HEADER.length);
  return header;
}

/** Data of INFO and GO, as a client sends them. */
export function encodeInfoQuery(name: string, infoTypes: readonly number[]): Buffer {
  const types = Buffer.alloc(2 + 2 * infoTypes.length);
  types.writeUInt16BE(infoTypes.length);
  infoTypes.forEach((type, k) => {
    types.writeUInt16BE(type, 2 + 2 * k);
  });
  return Buffer.concat([u32(Buffer.byteLength(name)), Buffer.from(name), types]);
}

/** A reply to an option, with its data if it has any. */
export function pushOptionReply(out: ReplyWriter, option: number, type: number, data?: Buffer): void {
  const length = data?.length ?? 0;
  const frame = out.allocate(OPTION_REPLY.sizeBytes + length);
  frame.writeUInt32BE(OPTION_REPLY_MAGIC.high, OPTION_REPLY.magicHigh);
  frame.writeUInt32BE(OPTION_REPLY_MAGIC.low, OPTION_REPLY.magicLow);
  frame.writeUInt32BE(option, OPTION_REPLY.option);
  frame.writeUInt32BE(type, OPTION_REPLY.type);
  frame.writeUInt32BE(length, OPTION_REPLY.length);
  data?.copy(frame, OPTION_REPLY.sizeBytes);
  out.push(frame);
}

/** The answer to EXPORT_NAME, which has no header. */
export function pushExportNameAnswer(out: ReplyWriter, sizeBytes: number, flags: number, noZeroes: boolean): void {
  const frame = out.allocate(noZeroes ? 10 : 10 + EXPORT_NAME_ZEROES).fill(0);
  writeU64(frame, 0, sizeBytes);
  frame.writeUInt16BE(flags, 8);
  out.push(frame);
}

/** Data of a SERVER reply: one listed export. */
export function serverData(name: string, description: string): Buffer {
  return Buffer.concat([u32(Buffer.byteLength(name)), Buffer.from(name), Buffer.from(description)]);
}

/** Data of a META_CONTEXT reply. */
export function metaContextData(id: number, name: string): Buffer {
  return Buffer.concat([u32(id), Buffer.from(name)]);
}

/** Data of INFO about size and abilities. */
export function exportInfo(sizeBytes: number, flags: number): Buffer {
  const data = Buffer.alloc(EXPORT_INFO.sizeBytes);
  data.writeUInt16BE(INFO.EXPORT, EXPORT_INFO.type);
  writeU64(data, EXPORT_INFO.sizeHigh, sizeBytes);
  data.writeUInt16BE(flags, EXPORT_INFO.flags);
  return data;
}

/** Data of INFO about block sizes. */
export function blockSizeInfo(minimum: number, preferred: number, maximum: number): Buffer {
  const data = Buffer.alloc(14);
  data.writeUInt16BE(INFO.BLOCK_SIZE, 0);
  data.writeUInt32BE(minimum, 2);
  data.writeUInt32BE(preferred, 6);
  data.writeUInt32BE(maximum, 10);
  return data;
}

/** Data of INFO that is a text: NAME or DESCRIPTION. */
export function textInfo(type: number, text: string): Buffer {
  return Buffer.concat([Buffer.from([type >> 8, type & 0xff]), Buffer.from(text)]);
}

function u32(value: number): Buffer {
  const data = Buffer.alloc(4);
  data.writeUInt32BE(value);
  return data;
}

/** Writes the header of a simple reply at byte `at` of `frame`. */
export function writeSimpleReply(frame: Buffer, echo: Echo, error: number, at = 0): void {
  frame.writeUInt32BE(SIMPLE_REPLY_MAGIC, at + SIMPLE_REPLY.magic);
  frame.writeUInt32BE(error, at + SIMPLE_REPLY.error);
  frame.writeUInt32BE(echo.cookieHigh, at + SIMPLE_REPLY.cookieHigh);
  frame.writeUInt32BE(echo.cookieLow, at + SIMPLE_REPLY.cookieLow);
}

/** A simple reply without data. */
export function pushSimpleReply(out: ReplyWriter, echo: Echo, error: number): void {
  const frame = out.allocate(SIMPLE_REPLY.sizeBytes);
  writeSimpleReply(frame, echo, error);
  out.push(frame);
}

/** Length of the header of a chunk. */
export function chunkHeaderBytes(extended: boolean): number {
  return extended ? EXTENDED_CHUNK.sizeBytes : CHUNK.sizeBytes;
}

/** Writes the header of a chunk at byte `at` of `frame`. @returns where its payload starts */
function writeChunkAt(
  frame: Buffer,
  at: number,
  echo: Echo,
  { type, flags, payloadBytes }: { type: number; flags: number; payloadBytes: number },
): number {
  // Both forms have the same fields in the same places, up to the cookie.
  frame.writeUInt32BE(echo.extended ? EXTENDED_CHUNK_MAGIC : CHUNK_MAGIC, at + CHUNK.magic);
  frame.writeUInt16BE(flags, at + CHUNK.flags);
  frame.writeUInt16BE(type, at + CHUNK.type);
  frame.writeUInt32BE(echo.cookieHigh, at + CHUNK.cookieHigh);
  frame.writeUInt32BE(echo.cookieLow, at + CHUNK.cookieLow);
  if (echo.extended) {
    frame.writeUInt32BE(echo.offsetHigh, at + EXTENDED_CHUNK.offsetHigh);
    frame.writeUInt32BE(echo.offsetLow, at + EXTENDED_CHUNK.offsetLow);
    writeU64(frame, at + EXTENDED_CHUNK.lengthHigh, payloadBytes);
  } else {
    frame.writeUInt32BE(payloadBytes, at + CHUNK.length);
  }
  return at + chunkHeaderBytes(echo.extended);
}

/** Writes the header of a chunk at the start of `frame`; the payload is what `frame` holds behind it. @returns where */
function writeChunk(frame: Buffer, echo: Echo, type: number, flags: number): number {
  return writeChunkAt(frame, 0, echo, { type, flags, payloadBytes: frame.length - chunkHeaderBytes(echo.extended) });
}

function doneFlag(done: boolean): number {
  return done ? CHUNK_FLAG.DONE : 0;
}

/** Writes what stands before the data of an OFFSET_DATA chunk, which fill the rest of `frame`. */
export function writeDataChunk(frame: Buffer, echo: Echo, offset: number, done: boolean): void {
  writeDataHead(frame, 0, echo, { offset, lengthBytes: frame.length - dataHeadBytes(echo.extended), done });
}

/** A run of bytes that a chunk tells of. */
export interface Run {
  readonly offset: number;
  readonly lengthBytes: number;
  /** The last of its reply. */
  readonly done: boolean;
}

/** Length of an OFFSET_DATA chunk up to its data. */
export function dataHeadBytes(extended: boolean): number {
  return chunkHeaderBytes(extended) + DATA_PAYLOAD.sizeBytes;
}

/** Writes what stands before the data of an OFFSET_DATA chunk at byte `at` of `frame`; the data stand elsewhere. */
export function writeDataHead(frame: Buffer, at: number, echo: Echo, run: Run): void {
  const payloadBytes = DATA_PAYLOAD.sizeBytes + run.lengthBytes;
  const chunk = { type: CHUNK_TYPE.OFFSET_DATA, flags: doneFlag(run.done), payloadBytes };
  writeU64(frame, writeChunkAt(frame, at, echo, chunk) + DATA_PAYLOAD.offset, run.offset);
}

/** Length of an OFFSET_HOLE chunk: no reply that a batch collects has a longer header. */
export function holeBytes(extended: boolean): number {
  return chunkHeaderBytes(extended) + HOLE_PAYLOAD.sizeBytes;
}

/** Writes an OFFSET_HOLE chunk at byte `at` of `frame`. */
export function writeHole(frame: Buffer, at: number, echo: Echo, run: Run): void {
  const chunk = { type: CHUNK_TYPE.OFFSET_HOLE, flags: doneFlag(run.done), payloadBytes: HOLE_PAYLOAD.sizeBytes };
  const payload = writeChunkAt(frame, at, echo, chunk);
  writeU64(frame, payload + HOLE_PAYLOAD.offset, run.offset);
  frame.writeUInt32BE(run.lengthBytes, payload + HOLE_PAYLOAD.length);
}

/** Length of what answers a WRITE. */
export function doneBytes(extended: boolean, error: number): number {
  if (!extended) return SIMPLE_REPLY.sizeBytes;
  return chunkHeaderBytes(true) + (error === 0 ? 0 : ERROR_PAYLOAD.sizeBytes);
}

/** Writes what answers a WRITE at byte `at` of `frame`. */
export function writeDone(frame: Buffer, at: number, echo: Echo, error: number): void {
  if (!echo.extended) writeSimpleReply(frame, echo, error, at);
  else if (error !== 0) writeErrorChunk(frame, at, echo, error);
  else writeChunkAt(frame, at, echo, { type: CHUNK_TYPE.NONE, flags: CHUNK_FLAG.DONE, payloadBytes: 0 });
}

function writeErrorChunk(frame: Buffer, at: number, echo: Echo, error: number): void {
  const chunk = { type: CHUNK_TYPE.ERROR, flags: CHUNK_FLAG.DONE, payloadBytes: ERROR_PAYLOAD.sizeBytes };
  const payload = writeChunkAt(frame, at, echo, chunk);
  frame.writeUInt32BE(error, payload + ERROR_PAYLOAD.error);
  frame.writeUInt16BE(0, payload + ERROR_PAYLOAD.messageLength);
}

/** An OFFSET_HOLE chunk: `lengthBytes` zeroes that are not sent. */
export function pushHoleChunk(out: ReplyWriter, echo: Echo, offset: number, lengthBytes: number, done: boolean): void {
  const frame = out.allocate(holeBytes(echo.extended));
  writeHole(frame, 0, echo, { offset, lengthBytes, done });
  out.push(frame);
}

/** The chunk that ends a reply without saying more. */
export function pushNoneChunk(out: ReplyWriter, echo: Echo): void {
  const frame = out.allocate(chunkHeaderBytes(echo.extended));
  writeChunk(frame, echo, CHUNK_TYPE.NONE, CHUNK_FLAG.DONE);
  out.push(frame);
}

/** The chunk that ends a reply with an error. */
export function pushErrorChunk(out: ReplyWriter, echo: Echo, error: number): void {
  const frame = out.allocate(chunkHeaderBytes(echo.extended) + ERROR_PAYLOAD.sizeBytes);
  writeErrorChunk(frame, 0, echo, error);
  out.push(frame);
}

/** A chunk that tells the status of `extents`, which holds length and state in turn; the headers decide its form. */
export function pushStatusChunk(out: ReplyWriter, echo: Echo, extents: readonly number[]): void {
  const form = echo.extended ? STATUS_EXT_PAYLOAD : STATUS_PAYLOAD;
  const count = extents.length / 2;
  const frame = out.allocate(chunkHeaderBytes(echo.extended) + form.sizeBytes + count * form.extentBytes);
  const type = echo.extended ? CHUNK_TYPE.BLOCK_STATUS_EXT : CHUNK_TYPE.BLOCK_STATUS;
  const payload = writeChunk(frame, echo, type, CHUNK_FLAG.DONE);
  frame.writeUInt32BE(ALLOCATION_CONTEXT_ID, payload + form.context);
  if (echo.extended) frame.writeUInt32BE(count, payload + STATUS_EXT_PAYLOAD.count);
  extents.forEach((word, k) => {
    const at = payload + form.sizeBytes + (k * form.extentBytes) / 2;
    if (echo.extended) writeU64(frame, at, word);
    else frame.writeUInt32BE(word, at);
  });
  out.push(frame);
}
