// What a server must answer to any conversation: random requests, their answers taken apart, and a plain array as the
// disk that says what is right.

import assert from "node:assert/strict";
import fc from "fast-check";
import { extendedFrame, infoData, metaData, optionFrame, type RawRequest, requestFrame } from "./nbd-raw-client.ts";

const CMD = { READ: 0, WRITE: 1, DISC: 2, FLUSH: 3, TRIM: 4, CACHE: 5, ZEROES: 6, STATUS: 7 } as const;
const FLAG = { NO_HOLE: 2, DF: 4, FAST_ZERO: 16, PAYLOAD_LEN: 32 } as const;
const E = { INVAL: 22, NOSPC: 28, NOTSUP: 95 } as const;
/** What the client asked for: replies, then headers, too, in their newer form. */
export type Mode = "simple" | "structured" | "extended";
export const anyMode: fc.Arbitrary<Mode> = fc.constantFrom("simple", "structured", "extended");

/** Requests to a disk that are mostly right and sometimes wrong; many of them are of whole blocks. */
export function anyRequest(diskBytes: number, blockBytes: number): fc.Arbitrary<RawRequest> {
  const blocks = Math.floor(diskBytes / blockBytes);
  const place = fc.record({ offset: fc.nat(diskBytes + 200), length: fc.oneof(fc.nat(3000), fc.constant(blockBytes)) });
  const wholeBlocks = fc
    .record({ block: fc.nat(blocks), count: fc.integer({ min: 1, max: 9 }) })
    .map(({ block, count }) => ({ offset: block * blockBytes, length: count * blockBytes }));
  return fc
    .record({
      type: fc.oneof(
        fc.nat(8).filter((type) => type !== CMD.DISC),
        fc.constantFrom(CMD.READ, CMD.WRITE),
      ),
      flags: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(31) }),
      where: fc.oneof(place, wholeBlocks),
      fill: fc.nat(255),
    })
    .map(({ type, flags, where, fill }) => ({
      type,
      flags,
      ...(type === CMD.FLUSH ? { offset: 0, length: 0 } : where),
      ...(type === CMD.WRITE ? { payload: Buffer.alloc(where.length, fill) } : {}),
    }));
}

/** The error that the specification wants, and the change to the array that is the disk. */
function oracle(disk: Buffer, { type, flags = 0, offset, length }: RawRequest, payload?: Buffer): number {
  const [at, bytes] = [Number(offset), length ?? 0];
  const stores = type === CMD.WRITE || type === CMD.ZEROES;
  const allowed = new Map<number, number>([
    ...[CMD.WRITE, CMD.FLUSH, CMD.TRIM, CMD.CACHE].map((plain) => [plain, 1] as const),
    [CMD.READ, 1 | 4],
    [CMD.ZEROES, 1 | 2 | 16],
    [CMD.STATUS, 1 | 8],
  ]).get(type);
  if (allowed === undefined || (flags & ~allowed) !== 0) return E.INVAL;
  if (at + bytes > disk.length) return stores ? E.NOSPC : E.INVAL;
  if (type === CMD.STATUS && bytes === 0) return E.INVAL;
  if (type === CMD.ZEROES && (flags & FLAG.NO_HOLE) !== 0 && (flags & FLAG.FAST_ZERO) !== 0) return E.NOTSUP;
  if (type === CMD.WRITE) payload?.copy(disk, at);
  if (type === CMD.ZEROES || type === CMD.TRIM) disk.fill(0, at, at + bytes);
  return 0;
}

/** Reads the answers one after the other. */
class Answers {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  take(count: number): Buffer {
    assert.ok(this.left >= count, "an answer is missing");
    this.#at += count;
    return this.#bytes.subarray(this.#at - count, this.#at);
  }

  /** Reads past the option phase, up to the ACK of GO. */
  skipOptions(): void {
    this.take(18);
    for (;;) {
      const header = this.take(20);
      this.take(header.readUInt32BE(16));
      if (header.readUInt32BE(8) === 7 && header.readUInt32BE(12) === 1) return;
    }
  }

  /** One reply: its error, and the data of a READ put together at their offsets. */
  reply(cookie: number, { type, offset, length = 0 }: RawRequest, mode: Mode): { error: number; data: Buffer } {
    const data = Buffer.alloc(length, 0xee);
    let covered = 0;
    for (;;) {
      const magic = this.take(4).readUInt32BE(0);
      if (magic === 0x67446698) {
        assert.ok(mode === "simple" || type !== CMD.READ, "a structured READ never gets a simple reply");
        assert.notEqual(mode, "extended", "with extended headers nothing gets a simple reply");
        const error = this.take(4).readUInt32BE(0);
        assert.equal(Number(this.take(8).readBigUInt64BE(0)), cookie);
        return { error, data: type === CMD.READ && error === 0 ? this.take(length) : data };
      }
      assert.equal(magic, mode === "extended" ? 0x6e8a278c : 0x668e33ef);
      const header = this.take(12);
      assert.equal(Number(header.readBigUInt64BE(4)), cookie);
      if (mode === "extended") assert.equal(Number(this.take(8).readBigUInt64BE(0)), offset);
      const lengthBytes = mode === "extended" ? Number(this.take(8).readBigUInt64BE(0)) : this.take(4).readUInt32BE(0);
      const payload = this.take(lengthBytes);
      const kind = header.readUInt16BE(2);
      if (kind === 0x8001) return { error: payload.readUInt32BE(0), data };
      if (kind === 1) covered += payload.copy(data, Number(payload.readBigUInt64BE(0)) - Number(offset), 8);
      if (kind === 2) {
        const at = Number(payload.readBigUInt64BE(0)) - Number(offset);
        data.fill(0, at, at + payload.readUInt32BE(8));
        covered += payload.readUInt32BE(8);
      }
      if ((header.readUInt16BE(0) & 1) === 0) continue;
      if (type === CMD.READ) assert.equal(covered, length, "a READ is covered exactly once");
      return { error: 0, data };
    }
  }
}

/** What a client sends that opens the disk, sends the requests and, unless it is told not to, says goodbye. */
export function stream(requests: readonly RawRequest[], mode: Mode, leaves = true, name = "disk"): Buffer {
  const options =
    mode === "simple"
      ? [optionFrame(3), optionFrame(0x7654321, Buffer.alloc(9))]
      : [optionFrame(mode === "extended" ? 11 : 8), optionFrame(10, metaData(name, ["base:allocation"]))];
  return Buffer.concat([
    Buffer.from([0, 0, 0, 3]),
    ...options,
    optionFrame(7, infoData(name, [3])),
    ...requests.map((each, k) => frame({ ...each, cookie: k }, mode)),
    ...(leaves ? [frame({ type: CMD.DISC }, mode)] : []),
  ]);
}

function frame(wanted: RawRequest, mode: Mode): Buffer {
  if (mode !== "extended") return requestFrame(wanted);
  const announced = wanted.payload === undefined ? 0 : FLAG.PAYLOAD_LEN;
  return extendedFrame({ ...wanted, flags: (wanted.flags ?? 0) | announced });
}

/** Fails unless the answers of a conversation are those that a plain array gives, which is changed by the requests. */
export function assertAnswers(bytes: Buffer, disk: Buffer, requests: readonly RawRequest[], mode: Mode): void {
  const answers = new Answers(bytes);
  answers.skipOptions();
  requests.forEach((each, k) => {
    const { error, data } = answers.reply(k, each, mode);
    const noContext = each.type === CMD.STATUS && mode === "simple";
    const noDf = each.type === CMD.READ && mode === "simple" && ((each.flags ?? 0) & FLAG.DF) !== 0;
    const expected = oracle(disk, each, each.payload);
    assert.equal(error, noContext || noDf ? E.INVAL : expected, `request ${k}`);
    if (each.type !== CMD.READ || error !== 0) return;
    const at = Number(each.offset);
    assert.ok(data.equals(disk.subarray(at, at + (each.length ?? 0))), `data of request ${k}`);
  });
  assert.equal(answers.left, 0, "nothing is said that was not asked");
}

/** Cuts bytes into pieces whose sizes come around again and again. */
export function cut(bytes: Buffer, sizes: readonly number[]): Buffer[] {
  const chunks: Buffer[] = [];
  for (let at = 0, k = 0; at < bytes.length; k++) {
    const size = sizes[k % sizes.length];
    chunks.push(bytes.subarray(at, at + size));
    at += size;
  }
  return chunks;
}
