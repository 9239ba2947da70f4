import {
  ALLOCATION_CONTEXT_ID,
  CHUNK_FLAG,
  CHUNK_MAGIC,
  CHUNK_TYPE,
  HANDSHAKE,
  HELLO_MAGIC,
  INFO,
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
/** A simple reply; the data of a READ that succeeded follow. */
export const SIMPLE_REPLY = { magic: 0, error: 4, cookieHigh: 8, cookieLow: 12, sizeBytes: 16 } as const;
/** What opens a structured reply chunk; its payload follows. */
export const CHUNK = { magic: 0, flags: 4, type: 6, cookieHigh: 8, cookieLow: 12, length: 16, sizeBytes: 20 } as const;
/** An OFFSET_DATA chunk up to its data. */
export const DATA_CHUNK = { offset: CHUNK.sizeBytes, sizeBytes: CHUNK.sizeBytes + 8 } as const;
/** An OFFSET_HOLE chunk. */
export const HOLE_CHUNK = {
  offset: CHUNK.sizeBytes,
  length: CHUNK.sizeBytes + 8,
  sizeBytes: CHUNK.sizeBytes + 12,
} as const;
/** An ERROR chunk without a message. */
export const ERROR_CHUNK = {
  error: CHUNK.sizeBytes,
  messageLength: CHUNK.sizeBytes + 4,
  sizeBytes: CHUNK.sizeBytes + 6,
} as const;
/** A BLOCK_STATUS chunk up to its extents, each of which is a length and a state. */
export const STATUS_CHUNK = { context: CHUNK.sizeBytes, sizeBytes: CHUNK.sizeBytes + 4 } as const;

/** The answer to EXPORT_NAME ends in this many zeroes, unless the client agreed to do without. */
const EXPORT_NAME_ZEROES = 124;

/** What a reply echoes so that the client knows the request that it answers. */
export interface Cookie {
  readonly cookieHigh: number;
  readonly cookieLow: number;
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
  const data = Buffer.alloc(12);
  data.writeUInt16BE(INFO.EXPORT, 0);
  writeU64(data, 2, sizeBytes);
  data.writeUInt16BE(flags, 10);
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

/** Writes the header of a simple reply at the start of `frame`. */
export function writeSimpleReply(frame: Buffer, cookie: Cookie, error: number): void {
  frame.writeUInt32BE(SIMPLE_REPLY_MAGIC, SIMPLE_REPLY.magic);
  frame.writeUInt32BE(error, SIMPLE_REPLY.error);
  frame.writeUInt32BE(cookie.cookieHigh, SIMPLE_REPLY.cookieHigh);
  frame.writeUInt32BE(cookie.cookieLow, SIMPLE_REPLY.cookieLow);
}

/** A simple reply without data. */
export function pushSimpleReply(out: ReplyWriter, cookie: Cookie, error: number): void {
  const frame = out.allocate(SIMPLE_REPLY.sizeBytes);
  writeSimpleReply(frame, cookie, error);
  out.push(frame);
}

/** Writes the header of a chunk at the start of `frame`; the payload is what `frame` holds behind it. */
function writeChunk(frame: Buffer, cookie: Cookie, type: number, flags: number): void {
  frame.writeUInt32BE(CHUNK_MAGIC, CHUNK.magic);
  frame.writeUInt16BE(flags, CHUNK.flags);
  frame.writeUInt16BE(type, CHUNK.type);
  frame.writeUInt32BE(cookie.cookieHigh, CHUNK.cookieHigh);
  frame.writeUInt32BE(cookie.cookieLow, CHUNK.cookieLow);
  frame.writeUInt32BE(frame.length - CHUNK.sizeBytes, CHUNK.length);
}

function doneFlag(done: boolean): number {
  return done ? CHUNK_FLAG.DONE : 0;
}

/** Writes what stands before the data of an OFFSET_DATA chunk, which fill the rest of `frame`. */
export function writeDataChunk(frame: Buffer, cookie: Cookie, offset: number, done: boolean): void {
  writeChunk(frame, cookie, CHUNK_TYPE.OFFSET_DATA, doneFlag(done));
  writeU64(frame, DATA_CHUNK.offset, offset);
}

/** An OFFSET_HOLE chunk: `lengthBytes` zeroes that are not sent. */
export function pushHoleChunk(
  out: ReplyWriter,
  cookie: Cookie,
  offset: number,
  lengthBytes: number,
  done: boolean,
): void {
  const frame = out.allocate(HOLE_CHUNK.sizeBytes);
  writeChunk(frame, cookie, CHUNK_TYPE.OFFSET_HOLE, doneFlag(done));
  writeU64(frame, HOLE_CHUNK.offset, offset);
  frame.writeUInt32BE(lengthBytes, HOLE_CHUNK.length);
  out.push(frame);
}

/** The chunk that ends a reply without saying more. */
export function pushNoneChunk(out: ReplyWriter, cookie: Cookie): void {
  const frame = out.allocate(CHUNK.sizeBytes);
  writeChunk(frame, cookie, CHUNK_TYPE.NONE, CHUNK_FLAG.DONE);
  out.push(frame);
}

/** The chunk that ends a reply with an error. */
export function pushErrorChunk(out: ReplyWriter, cookie: Cookie, error: number): void {
  const frame = out.allocate(ERROR_CHUNK.sizeBytes);
  writeChunk(frame, cookie, CHUNK_TYPE.ERROR, CHUNK_FLAG.DONE);
  frame.writeUInt32BE(error, ERROR_CHUNK.error);
  frame.writeUInt16BE(0, ERROR_CHUNK.messageLength);
  out.push(frame);
}

/** A BLOCK_STATUS chunk; `extents` holds length and state in turn. */
export function pushStatusChunk(out: ReplyWriter, cookie: Cookie, extents: readonly number[]): void {
  const frame = out.allocate(STATUS_CHUNK.sizeBytes + 4 * extents.length);
  writeChunk(frame, cookie, CHUNK_TYPE.BLOCK_STATUS, CHUNK_FLAG.DONE);
  frame.writeUInt32BE(ALLOCATION_CONTEXT_ID, STATUS_CHUNK.context);
  extents.forEach((word, k) => {
    frame.writeUInt32BE(word, STATUS_CHUNK.sizeBytes + 4 * k);
  });
  out.push(frame);
}
