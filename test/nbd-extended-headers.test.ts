// Hazard: with extended headers a length may be 64 bits wide and may mean a payload. A server that misreads one takes
// data for requests, or holds itself up with one request. The answers are checked byte by byte, then by real clients.

import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { assertServes, startNbd } from "./support/nbd-fixture.ts";
import { NbdMemoryDevice } from "./support/nbd-memory-device.ts";
import { run, succeed } from "./support/nbd-programs.ts";
import {
  type ExtendedChunk,
  errorOfChunks,
  extendedFrame,
  infoData,
  metaData,
  optionFrame,
  requestFrame,
} from "./support/nbd-raw-client.ts";
import { requireTool } from "./support/tools.ts";

const OPT = { EXPORT_NAME: 1, INFO: 6, GO: 7, STRUCTURED: 8, SET_META: 10, EXTENDED: 11 } as const;
const REP = { ACK: 1, INVALID: 2 ** 31 + 3, EXT_HEADER_REQD: 2 ** 31 + 10 } as const;
const CMD = { READ: 0, WRITE: 1, DISC: 2, FLUSH: 3, TRIM: 4, CACHE: 5, ZEROES: 6, STATUS: 7 } as const;
const FLAG = { NO_HOLE: 2, DF: 4, REQ_ONE: 8, FAST_ZERO: 16, PAYLOAD_LEN: 32 } as const;
const E = { INVAL: 22, NOSPC: 28, OVERFLOW: 75, SHUTDOWN: 108 } as const;
const STATUS_PAYLOAD_FLAG = 1 << 12;
const DF_FLAG = 1 << 7;
const MiB = 2 ** 20;
const GiB = 2 ** 30;
const TiB = 2 ** 40;

/** Length and state of each extent of a BLOCK_STATUS_EXT chunk. */
function extents([chunk, ...rest]: readonly ExtendedChunk[]): number[][] {
  assert.deepEqual([rest.length, chunk.type, chunk.flags, chunk.payload.readUInt32BE(0)], [0, 6, 1, 1]);
  const count = chunk.payload.readUInt32BE(4);
  assert.equal(chunk.payload.length, 8 + 16 * count);
  return Array.from({ length: count }, (_, k) => [
    Number(chunk.payload.readBigUInt64BE(8 + 16 * k)),
    Number(chunk.payload.readBigUInt64BE(16 + 16 * k)),
  ]);
}

/** The payload of a BLOCK_STATUS that names contexts. */
function filter(lengthBytes: number, ...ids: readonly number[]): Buffer {
  const payload = Buffer.alloc(8 + 4 * ids.length);
  payload.writeBigUInt64BE(BigInt(lengthBytes));
  ids.forEach((id, k) => {
    payload.writeUInt32BE(id, 8 + 4 * k);
  });
  return payload;
}

describe("agreeing on extended headers", () => {
  test("they take the place of structured replies, take no data, and cannot be taken back", async (t) => {
    const { greet } = await startNbd(t);
    const client = await greet();
    assert.equal((await client.ask(OPT.EXTENDED, Buffer.from("x")))[0].type, REP.INVALID);
    assert.equal((await client.ask(OPT.STRUCTURED))[0].type, REP.ACK, "what was refused is not agreed");
    for (let k = 0; k < 2; k++) assert.equal((await client.ask(OPT.EXTENDED))[0].type, REP.ACK);
    assert.equal((await client.ask(OPT.STRUCTURED))[0].type, REP.EXT_HEADER_REQD);
    assert.equal((await client.ask(OPT.SET_META, metaData("disk", ["base:allocation"]))).length, 2);
    client.send(optionFrame(OPT.EXPORT_NAME, Buffer.from("disk")));
    assert.equal((await client.rest()).length, 0, "only GO may follow");
  });

  test("filters of BLOCK_STATUS are offered once a context was selected for the same export", async (t) => {
    const { server, greet } = await startNbd(t);
    server.addExport(new NbdMemoryDevice(4096, { name: "other" }));
    const client = await greet();
    const flagsOf = async (name: string) => (await client.ask(OPT.INFO, infoData(name)))[0].data.readUInt16BE(10);
    await client.ask(OPT.STRUCTURED);
    await client.ask(OPT.SET_META, metaData("disk", ["base:allocation"]));
    assert.equal((await flagsOf("disk")) & (STATUS_PAYLOAD_FLAG | DF_FLAG), DF_FLAG);
    await client.ask(OPT.EXTENDED);
    assert.equal((await flagsOf("disk")) & (STATUS_PAYLOAD_FLAG | DF_FLAG), STATUS_PAYLOAD_FLAG | DF_FLAG);
    assert.equal((await flagsOf("other")) & STATUS_PAYLOAD_FLAG, 0);
    const info = await client.ask(OPT.INFO, infoData("disk"));
    const went = await client.ask(OPT.GO, infoData("disk"));
    assert.deepEqual(went[0].data, info[0].data);
  });
});

describe("commands with extended headers", () => {
  test("every reply has an extended header with the cookie and the offset of its request", async (t) => {
    const { open, disk } = await startNbd(t);
    const client = await open("disk", { extended: true });
    const payload = Buffer.from("some bytes");
    client.send(
      extendedFrame({ type: CMD.WRITE, offset: 4090, payload, cookie: 7 }),
      extendedFrame({ type: CMD.READ, offset: 4000, length: 5000, cookie: 2 ** 40 }),
      extendedFrame({ type: CMD.READ, flags: FLAG.DF, offset: 4090, length: payload.length, cookie: 8 }),
      extendedFrame({ type: CMD.READ, offset: 5, cookie: 9 }),
      extendedFrame({ type: CMD.FLUSH, cookie: 10 }),
      extendedFrame({ type: CMD.READ, offset: 2n ** 64n - 3n, length: 1, cookie: 11 }),
    );
    const written = await client.extendedChunks();
    assert.deepEqual(written, [{ flags: 1, type: 0, cookie: 7, offset: 4090n, payload: Buffer.alloc(0) }]);
    const read = await client.extendedChunks();
    assert.deepEqual(
      read.map(({ flags, type, cookie, offset, payload: { length } }) => [flags, type, cookie, offset, length]),
      [
        [0, 1, 2 ** 40, 4000n, 8 + 4192],
        [1, 2, 2 ** 40, 4000n, 12],
      ],
    );
    assert.equal(read[1].payload.readBigUInt64BE(0), 8192n, "the payload has the offset of the hole");
    const [whole] = await client.extendedChunks();
    assert.deepEqual([whole.cookie, whole.offset, whole.payload.subarray(8)], [8, 4090n, payload]);
    const [nothing] = await client.extendedChunks();
    assert.deepEqual([nothing.type, nothing.offset], [0, 5n]);
    assert.deepEqual((await client.extendedChunks())[0].cookie, 10);
    const [beyond] = await client.extendedChunks();
    assert.deepEqual([beyond.type, beyond.offset], [0x8001, 2n ** 64n - 3n], "exact beyond 2^53, too");
    assert.equal(disk.calls.flush, 1);
  });

  test("one TRIM, WRITE_ZEROES, CACHE or BLOCK_STATUS covers more than 4 GiB", async (t) => {
    const { open, disk } = await startNbd(t, { sizeBytes: 5 * TiB });
    const client = await open("disk", { extended: true, context: true });
    const [offset, length] = [3 * GiB + 4096, 9 * GiB];
    for (const [type, flags] of [
      [CMD.TRIM, 0],
      [CMD.ZEROES, FLAG.FAST_ZERO],
      [CMD.CACHE, 0],
    ]) {
      for (const at of [offset, offset + length - 4096]) disk.write(at, Buffer.alloc(4096, 1));
      assert.equal(await client.extendedErrorOf({ type, flags, offset, length }), 0, `command ${type}`);
      if (type === CMD.CACHE) continue;
      const ends = [offset, offset + length - 4096].map((at) => disk.extents(at, 4096, 1)[0].hole);
      assert.deepEqual(ends, [true, true], `command ${type} reaches both ends`);
    }
    assert.equal(await client.extendedErrorOf({ type: CMD.TRIM, offset, length }), 0);
    client.send(extendedFrame({ type: CMD.STATUS, offset, length: 4.5 * TiB }));
    assert.deepEqual(extents(await client.extendedChunks()), [[4.5 * TiB, 3]], "one extent, longer than 32 bits tell");
    assert.ok(disk.largestCallBytes <= 256 * MiB, "no call holds the device for all of it");
  });

  test("lengths up to 2^64 that leave the device are refused, and READ stays bounded", async (t) => {
    const { open } = await startNbd(t, { sizeBytes: 5 * TiB });
    const client = await open("disk", { extended: true, context: true });
    for (const [type, error] of [
      [CMD.READ, E.INVAL],
      [CMD.TRIM, E.INVAL],
      [CMD.CACHE, E.INVAL],
      [CMD.STATUS, E.INVAL],
      [CMD.ZEROES, E.NOSPC],
    ]) {
      for (const length of [5 * TiB + 1, 2 ** 63, 2 ** 64 - 2048]) {
        assert.equal(await client.extendedErrorOf({ type, length }), error, `command ${type}, ${length} bytes`);
        assert.equal(await client.extendedErrorOf({ type, offset: length, length }), error);
      }
    }
    for (const length of [64 * MiB + 1, 5 * GiB]) {
      assert.equal(await client.extendedErrorOf({ type: CMD.READ, length }), E.INVAL);
      assert.equal(await client.extendedErrorOf({ type: CMD.READ, flags: FLAG.DF, length }), E.OVERFLOW);
    }
    client.send(extendedFrame({ type: CMD.READ, length: 64 * MiB }));
    assert.equal((await client.extendedChunks()).length, 64);
  });

  test("extents stay apart where states differ, and REQ_ONE tells one", async (t) => {
    const { open, disk } = await startNbd(t);
    disk.write(4096, Buffer.alloc(8192, 1));
    const client = await open("disk", { extended: true, context: true });
    client.send(extendedFrame({ type: CMD.STATUS, offset: 1000, length: 20_000 }));
    assert.deepEqual(extents(await client.extendedChunks()), [
      [3096, 3],
      [8192, 0],
      [8712, 3],
    ]);
    client.send(extendedFrame({ type: CMD.STATUS, flags: FLAG.REQ_ONE, offset: 5000, length: 20_000 }));
    assert.deepEqual(extents(await client.extendedChunks()), [[7288, 0]]);
  });
});

describe("payloads", () => {
  test("BLOCK_STATUS tells about the contexts that its payload names", async (t) => {
    const { open } = await startNbd(t, { sizeBytes: 5 * TiB });
    const client = await open("disk", { extended: true, context: true });
    const status = { type: CMD.STATUS, offset: 4096 };
    client.send(extendedFrame({ ...status, payload: filter(4.5 * TiB, 1) }));
    assert.deepEqual(extents(await client.extendedChunks()), [[4.5 * TiB, 3]]);
    client.send(
      extendedFrame({ ...status, payload: filter(8192, 1), flags: FLAG.PAYLOAD_LEN | FLAG.REQ_ONE, cookie: 5 }),
    );
    assert.deepEqual(extents(await client.extendedChunks()), [[8192, 3]]);
    assert.equal(await client.extendedErrorOf({ ...status, payload: filter(4096) }), 0, "no context, no status");
  });

  test("a filter that is malformed or names what was not selected is refused, and read past", async (t) => {
    const { open } = await startNbd(t);
    const client = await open("disk", { extended: true, context: true });
    const bad = [filter(4096, 0), filter(4096, 2), filter(4096, 1, 1), filter(0, 1), filter(2 * MiB, 1)];
    for (const payload of [...bad, Buffer.alloc(0), Buffer.alloc(7), Buffer.alloc(11), Buffer.alloc(70_000, 1)]) {
      const error = await client.extendedErrorOf({ type: CMD.STATUS, payload });
      assert.equal(error, E.INVAL, payload.subarray(0, 20).toString("hex"));
    }
    const without = await open("disk", { extended: true });
    assert.equal(await without.extendedErrorOf({ type: CMD.STATUS, payload: filter(4096, 1) }), E.INVAL);
  });

  test("a payload where none belongs is read past and refused; with compact headers the flag is unknown", async (t) => {
    const { open, disk } = await startNbd(t);
    const client = await open("disk", { extended: true });
    for (const type of [CMD.READ, CMD.FLUSH, CMD.TRIM, CMD.CACHE, CMD.ZEROES, 8, 4711]) {
      assert.equal(await client.extendedErrorOf({ type, payload: Buffer.alloc(8192, 0x21) }), E.INVAL, `${type}`);
      const flags = FLAG.PAYLOAD_LEN;
      assert.equal(await client.extendedErrorOf({ type, flags }), E.INVAL, "an empty payload is one, too");
    }
    assert.equal(disk.calls.trim + disk.calls.zero + disk.calls.flush, 0);
    const compact = await open("disk", { structured: true });
    const payload = Buffer.alloc(512);
    assert.equal(await compact.errorOf({ type: CMD.WRITE, flags: FLAG.PAYLOAD_LEN, payload }), E.INVAL);
  });

  test("a WRITE has a payload even when it does not announce it, as qemu's do not", async (t) => {
    const { open, disk } = await startNbd(t);
    const client = await open("disk", { extended: true });
    assert.equal(await client.extendedErrorOf({ type: CMD.WRITE, flags: 0 }), 0);
    const inside = extendedFrame({ type: CMD.TRIM, length: MiB });
    assert.equal(await client.extendedErrorOf({ type: CMD.WRITE, flags: 0, offset: 512, payload: inside }), 0);
    const stored = Buffer.alloc(inside.length);
    disk.read(512, stored);
    assert.deepEqual([stored, disk.calls.trim], [inside, 0], "data are never taken for requests");
  });

  test("a payload above 64 MiB and a header of the other form end the connection", async (t) => {
    const nbd = await startNbd(t, { sizeBytes: TiB });
    const flags = FLAG.PAYLOAD_LEN;
    for (const attack of [
      extendedFrame({ type: CMD.WRITE, flags, length: 64 * MiB + 1 }),
      extendedFrame({ type: CMD.WRITE, length: 64 * MiB + 1 }),
      extendedFrame({ type: CMD.WRITE, flags, length: 2 ** 64 - 2048 }),
      extendedFrame({ type: CMD.STATUS, flags, length: 2 ** 32 }),
      extendedFrame({ type: CMD.TRIM, flags, length: 64 * MiB + 1 }),
      Buffer.concat([requestFrame({ type: CMD.FLUSH }), Buffer.alloc(4)]),
    ]) {
      const client = await nbd.open("disk", { extended: true });
      client.send(attack);
      assert.equal((await client.rest()).length, 0);
    }
    const compact = await nbd.open("disk", { structured: true });
    compact.send(extendedFrame({ type: CMD.FLUSH }));
    assert.equal((await compact.rest()).length, 0);
    await assertServes(nbd);
  });

  test("while the server drains, a filter is read past", async (t) => {
    const { open, server } = await startNbd(t);
    const client = await open("disk", { extended: true, context: true });
    await server.drain();
    client.send(extendedFrame({ type: CMD.STATUS, payload: filter(4096, 1) }), extendedFrame({ type: CMD.FLUSH }));
    for (let k = 0; k < 2; k++) assert.equal(errorOfChunks(await client.extendedChunks()), E.SHUTDOWN);
  });
});

/** Clients of Debian 12 are older than extended headers; these tests are for those who have newer ones. */
async function requireVersion(t: TestContext, tool: string, major: number, minor: number): Promise<boolean> {
  if (!requireTool(t, tool)) return false;
  const version = /(\d+)\.(\d+)/.exec(await succeed(tool, "--version"));
  const [here, there] = [Number(version?.[1]) * 1000 + Number(version?.[2]), major * 1000 + minor];
  if (here >= there) return true;
  t.skip(`${tool} is older than ${major}.${minor}, which extended headers need`);
  return false;
}

describe("real clients with extended headers", () => {
  test("nbdinfo maps 5 TiB with one request, nbdcopy copies both ways", async (t) => {
    if (!(await requireVersion(t, "nbdinfo", 1, 18)) || !requireTool(t, "nbdcopy")) return;
    const { server, uri, disk } = await startNbd(t, { sizeBytes: 5 * TiB });
    assert.equal((await run("nbdinfo", "--can", "extended-headers", uri)).code, 0);
    disk.write(5 * TiB - 4096, Buffer.alloc(4096, 1));
    disk.trim(5 * TiB - 4096, 4096);
    const map = JSON.parse(await succeed("nbdinfo", "--map", "--json", uri)) as Record<string, unknown>[];
    assert.deepEqual(
      map.map(({ offset, length, type }) => [offset, length, type]),
      [[0, 5 * TiB, 3]],
    );
    const [one, two] = ["one", "two"].map((name) => new NbdMemoryDevice(8 * MiB, { name }));
    one.write(MiB + 77, Buffer.alloc(3 * MiB, "content"));
    for (const device of [one, two]) server.addExport(device);
    await succeed("nbdcopy", server.uri("one"), server.uri("two"));
    const [left, right] = [one, two].map((device) => {
      const content = Buffer.alloc(8 * MiB);
      device.read(0, content);
      return content;
    });
    assert.ok(left.equals(right));
  });

  test("qemu-io zeroes 16 GiB", async (t) => {
    if (!(await requireVersion(t, "qemu-io", 8, 2))) return;
    const { uri, disk } = await startNbd(t, { sizeBytes: 16 * GiB });
    for (const at of [GiB, 9 * GiB]) disk.write(at, Buffer.alloc(4096, 1));
    await succeed("qemu-io", "-f", "raw", "-c", "write -z -n -u 0 16G", "-c", "read -P 0 1G 4k", uri);
    assert.ok([GiB, 9 * GiB].every((at) => disk.extents(at, 4096, 1)[0].hole));
  });
});
