// Hazard: a reply that promises what did not happen, or an error that hits the wrong request, corrupts file systems.
// Every command, flag and error is checked byte by byte; random requests are compared with a plain array.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { startNbd, until } from "./support/nbd-fixture.ts";
import { NbdMemoryDevice } from "./support/nbd-memory-device.ts";
import { type Chunk, errorOfChunks, requestFrame } from "./support/nbd-raw-client.ts";

const CMD = { READ: 0, WRITE: 1, DISC: 2, FLUSH: 3, TRIM: 4, CACHE: 5, ZEROES: 6, STATUS: 7 } as const;
const FLAG = { FUA: 1, NO_HOLE: 2, DF: 4, REQ_ONE: 8, FAST_ZERO: 16, UNKNOWN: 0x8000 } as const;
const CHUNK = { NONE: 0, DATA: 1, HOLE: 2, STATUS: 5 } as const;
const E = { INVAL: 22, OVERFLOW: 75, NOTSUP: 95, SHUTDOWN: 108 } as const;
const MiB = 2 ** 20;

/** Offset and length, or offset and data, of content chunks. */
function contents(chunks: readonly Chunk[]): (string | number)[][] {
  return chunks.map(({ type, payload }) => {
    if (type === CHUNK.NONE) return ["none"];
    const offset = Number(payload.readBigUInt64BE(0));
    if (type === CHUNK.HOLE) return ["hole", offset, payload.readUInt32BE(8)];
    assert.equal(type, CHUNK.DATA);
    return ["data", offset, payload.length - 8];
  });
}

/** Length and state of each extent. */
function extents(chunks: readonly Chunk[]): number[][] {
  assert.deepEqual([chunks.length, chunks[0].type, chunks[0].payload.readUInt32BE(0)], [1, CHUNK.STATUS, 1]);
  const { payload } = chunks[0];
  const count = (payload.length - 4) / 8;
  return Array.from({ length: count }, (_, k) => [payload.readUInt32BE(4 + 8 * k), payload.readUInt32BE(8 + 8 * k)]);
}

describe("reading and writing", () => {
  test("what was written is read, at any offset and length, with the cookie of its request", async (t) => {
    const { open } = await startNbd(t);
    const client = await open();
    const payload = Buffer.from("some bytes across a border of blocks");
    client.send(requestFrame({ type: CMD.WRITE, offset: 4090, payload, cookie: 7 }));
    client.send(requestFrame({ type: CMD.READ, offset: 4090, length: payload.length, cookie: 2 ** 40 }));
    assert.deepEqual(await client.simpleReply(), { error: 0, cookie: 7, data: Buffer.alloc(0) });
    assert.deepEqual(await client.simpleReply(payload.length), { error: 0, cookie: 2 ** 40, data: payload });
  });

  test("a request of 48 MiB is served, as the reference implementation's own test sends it", async (t) => {
    const { open, disk } = await startNbd(t, { sizeBytes: 64 * MiB });
    const client = await open();
    const payload = Buffer.alloc(49_865_728, "pattern of odd length");
    assert.equal(await client.errorOf({ type: CMD.WRITE, offset: 12345, payload }), 0);
    client.send(requestFrame({ type: CMD.READ, offset: 12345, length: payload.length }));
    const { data } = await client.simpleReply(payload.length);
    assert.ok(data.equals(payload));
    assert.ok(disk.largestCallBytes <= MiB, "the device is never held for longer than a slice");
  });

  test("requests of length zero succeed and change nothing", async (t) => {
    const { open, disk } = await startNbd(t);
    const client = await open();
    for (const type of [CMD.READ, CMD.WRITE, CMD.TRIM, CMD.CACHE, CMD.ZEROES]) {
      assert.equal(await client.errorOf({ type, offset: disk.sizeBytes }), 0, `command ${type}`);
    }
    assert.deepEqual({ ...disk.calls, extents: 0 }, { read: 0, write: 0, zero: 0, trim: 0, flush: 0, extents: 0 });
    const structured = await open("disk", { structured: true });
    structured.send(requestFrame({ type: CMD.READ }));
    assert.deepEqual(contents(await structured.chunks()), [["none"]]);
  });

  test("a client that vanishes in mid-payload leaves whole blocks behind, never a part of one", async (t) => {
    const blockBytes = 2 * MiB;
    const { open, disk, server } = await startNbd(t, { disk: new NbdMemoryDevice(8 * MiB, { blockBytes }) });
    const client = await open();
    client.send(requestFrame({ type: CMD.WRITE, offset: MiB, length: 5 * MiB }), Buffer.alloc(3.5 * MiB, 1));
    await until("the payload arrives", () => server.connections[0].bytesReceived > 3.5 * MiB);
    client.vanish();
    await until("the connection is gone", () => server.connections.length === 0);
    const content = Buffer.alloc(8 * MiB);
    disk.read(0, content);
    assert.ok(content.subarray(MiB, 4 * MiB).every((byte) => byte === 1));
    assert.ok(content.subarray(4 * MiB).every((byte) => byte === 0));
  });
});

describe("structured reads", () => {
  test("data and holes come as chunks in order, the last one ends the reply", async (t) => {
    const { open, disk } = await startNbd(t);
    disk.write(8192, Buffer.alloc(4096, 5));
    const client = await open("disk", { structured: true });
    client.send(requestFrame({ type: CMD.READ, offset: 100, length: 20_000, cookie: 9 }));
    const chunks = await client.chunks();
    assert.deepEqual(contents(chunks), [
      ["hole", 100, 8092],
      ["data", 8192, 4096],
      ["hole", 12288, 7812],
    ]);
    assert.ok(chunks.every(({ cookie }) => cookie === 9));
    assert.ok(chunks[1].payload.subarray(8).every((byte) => byte === 5));
  });

  test("with DF everything comes in one chunk, holes as zeroes", async (t) => {
    const { open, disk } = await startNbd(t, { sizeBytes: 8 * MiB });
    disk.write(4096, Buffer.alloc(4096, 5));
    const client = await open("disk", { structured: true });
    client.send(requestFrame({ type: CMD.READ, flags: FLAG.DF, length: 3 * MiB }));
    const chunks = await client.chunks();
    assert.deepEqual(contents(chunks), [["data", 0, 3 * MiB]]);
    assert.deepEqual([...chunks[0].payload.subarray(8 + 4095, 8 + 4097)], [0, 5]);
    const plain = await open();
    assert.equal(await plain.errorOf({ type: CMD.READ, flags: FLAG.DF, length: 1 }), E.INVAL, "DF was not offered");
  });

  test("more than 64 MiB are refused: EINVAL, or EOVERFLOW for one chunk", async (t) => {
    const { open } = await startNbd(t, { sizeBytes: 2 ** 40 });
    const client = await open("disk", { structured: true });
    for (const [flags, error] of [
      [0, E.INVAL],
      [FLAG.DF, E.OVERFLOW],
    ]) {
      client.send(requestFrame({ type: CMD.READ, flags, length: 64 * MiB + 1 }));
      assert.equal(errorOfChunks(await client.chunks()), error);
    }
    client.send(requestFrame({ type: CMD.READ, length: 64 * MiB }));
    assert.equal(contents(await client.chunks()).length, 64, "a hole of 64 MiB is 64 small chunks");
  });
});

describe("block status", () => {
  test("tells allocation, coalesced, up to the end of the request; REQ_ONE tells one extent", async (t) => {
    const { open, disk } = await startNbd(t);
    disk.write(4096, Buffer.alloc(8192, 1));
    const client = await open("disk", { structured: true, context: true });
    client.send(requestFrame({ type: CMD.STATUS, offset: 1000, length: 20_000 }));
    assert.deepEqual(extents(await client.chunks()), [
      [3096, 3],
      [8192, 0],
      [8712, 3],
    ]);
    client.send(requestFrame({ type: CMD.STATUS, flags: FLAG.REQ_ONE, offset: 5000, length: 20_000 }));
    assert.deepEqual(extents(await client.chunks()), [[7288, 0]]);
  });

  test("an extent of 4 GiB is told as an aligned length below 2^32", async (t) => {
    const { open } = await startNbd(t, { sizeBytes: 2 ** 40 });
    const client = await open("disk", { structured: true, context: true });
    client.send(requestFrame({ type: CMD.STATUS, length: 0xffff_ffff }));
    assert.deepEqual(extents(await client.chunks()), [[0xffff_f000, 3]]);
  });

  test("one extent may be longer than what is looked at in one turn", async (t) => {
    const { open, disk } = await startNbd(t, { sizeBytes: 2 ** 40 });
    disk.write(600 * MiB, Buffer.alloc(4096, 1));
    const client = await open("disk", { structured: true, context: true });
    client.send(requestFrame({ type: CMD.STATUS, flags: FLAG.REQ_ONE, length: 2 ** 30 }));
    assert.deepEqual(extents(await client.chunks()), [[600 * MiB, 3]]);
  });

  test("a fragmented disk is told in replies of bounded size", async (t) => {
    const { open, disk } = await startNbd(t, { sizeBytes: 128 * MiB });
    for (let offset = 0; offset < disk.sizeBytes; offset += 8192) disk.write(offset, Buffer.alloc(1, 1));
    const client = await open("disk", { structured: true, context: true });
    client.send(requestFrame({ type: CMD.STATUS, length: disk.sizeBytes }));
    const told = extents(await client.chunks());
    assert.equal(told.length, 8192);
    assert.deepEqual(told.slice(0, 2), [
      [4096, 0],
      [4096, 3],
    ]);
  });

  test("without a context, and for no bytes, it is invalid", async (t) => {
    const { open } = await startNbd(t);
    assert.equal(await (await open()).errorOf({ type: CMD.STATUS, length: 1 }), E.INVAL);
    const client = await open("disk", { structured: true, context: true });
    client.send(requestFrame({ type: CMD.STATUS, length: 0 }));
    assert.equal(errorOfChunks(await client.chunks()), E.INVAL);
  });
});

describe("flush, trim and zeroes", () => {
  test("FUA makes a change durable before it is answered; reads bear it", async (t) => {
    const { open, disk } = await startNbd(t);
    const client = await open();
    let flushes = 0;
    for (const type of [CMD.WRITE, CMD.TRIM, CMD.ZEROES]) {
      const length = 4096;
      const payload = type === CMD.WRITE ? Buffer.alloc(length) : undefined;
      assert.equal(await client.errorOf({ type, length, ...(payload && { payload }) }), 0);
      assert.equal(disk.calls.flush, flushes, "no flush without FUA");
      assert.equal(await client.errorOf({ type, length, flags: FLAG.FUA, ...(payload && { payload }) }), 0);
      assert.equal(disk.calls.flush, ++flushes);
    }
    assert.equal(await client.errorOf({ type: CMD.FLUSH }), 0);
    assert.equal(disk.calls.flush, ++flushes);
    for (const type of [CMD.READ, CMD.CACHE]) {
      client.send(requestFrame({ type, flags: FLAG.FUA, length: 16 }));
      assert.equal((await client.simpleReply(type === CMD.READ ? 16 : 0)).error, 0);
    }
  });

  test("NO_HOLE keeps pages, its absence gives them back, FAST_ZERO refuses what is slow", async (t) => {
    const { open, disk } = await startNbd(t);
    const client = await open();
    const isHole = () => disk.extents(0, 4096, 1)[0].hole;
    disk.write(0, Buffer.alloc(4096, 9));
    const slow = FLAG.NO_HOLE | FLAG.FAST_ZERO;
    assert.equal(await client.errorOf({ type: CMD.ZEROES, flags: slow, length: 4096 }), E.NOTSUP);
    assert.equal(disk.calls.zero, 0, "a refused request changes nothing");
    assert.equal(await client.errorOf({ type: CMD.ZEROES, flags: FLAG.NO_HOLE, length: 4096 }), 0);
    assert.equal(isHole(), false);
    assert.equal(await client.errorOf({ type: CMD.ZEROES, flags: FLAG.FAST_ZERO, length: 4096 }), 0);
    assert.equal(isHole(), true);
  });

  test("a trim of 4 GiB is worked off in slices between which other clients are served", async (t) => {
    const { open, disk } = await startNbd(t, { sizeBytes: 2 ** 40 });
    const [trimmer, other] = [await open(), await open()];
    const calls: string[] = [];
    disk.onCall = (call) => {
      if (calls.push(call) === 1) other.send(requestFrame({ type: CMD.FLUSH }));
    };
    assert.equal(await trimmer.errorOf({ type: CMD.TRIM, length: 2 ** 32 - 1 }), 0);
    assert.equal((await other.simpleReply()).error, 0);
    assert.equal(calls.length, 17);
    assert.ok(calls.indexOf("flush") < 8, `the flush came after ${calls.indexOf("flush")} of 16 slices`);
  });
});

describe("endings", () => {
  test("DISC hangs up after everything before it was answered, and nothing behind it is done", async (t) => {
    const { open, disk } = await startNbd(t, { sizeBytes: 2 ** 40 });
    const client = await open();
    client.send(
      Buffer.concat([
        requestFrame({ type: CMD.TRIM, length: 2 ** 32 - 1, cookie: 1 }),
        requestFrame({ type: CMD.READ, length: 3, cookie: 2 }),
        requestFrame({ type: CMD.DISC }),
        requestFrame({ type: CMD.FLUSH }),
      ]),
    );
    assert.equal((await client.rest()).length, 16 + 19);
    assert.equal(disk.calls.flush, 0);
  });

  test("a client that closed its sending side still gets its answers", async (t) => {
    const { open } = await startNbd(t, { sizeBytes: 16 * MiB });
    const client = await open();
    client.socket.end(requestFrame({ type: CMD.READ, length: 8 * MiB }));
    assert.equal((await client.simpleReply(8 * MiB)).data.length, 8 * MiB);
    await client.closed;
  });

  test("while the server drains, the request in progress is finished and later ones get ESHUTDOWN", async (t) => {
    const { open, disk, server } = await startNbd(t, { sizeBytes: 2 ** 40 });
    const client = await open();
    const late = requestFrame({ type: CMD.WRITE, payload: Buffer.alloc(5000), cookie: 2 });
    const drained = new Promise<void>((resolve) => {
      disk.onCall = () => {
        if (disk.calls.trim === 1) queueMicrotask(() => resolve(server.drain()));
      };
    });
    client.send(Buffer.concat([requestFrame({ type: CMD.TRIM, length: 2 ** 32 - 1 }), late]));
    await drained;
    assert.equal((await client.simpleReply()).error, 0);
    assert.deepEqual(await client.simpleReply(), { error: E.SHUTDOWN, cookie: 2, data: Buffer.alloc(0) });
    assert.equal(await client.errorOf({ type: CMD.FLUSH }), E.SHUTDOWN);
    await server.close();
    await client.closed;
  });

  test("draining waits for the rest of a payload that is under way", async (t) => {
    const { open, server } = await startNbd(t);
    const client = await open();
    client.send(requestFrame({ type: CMD.WRITE, length: 10_000 }), Buffer.alloc(5_000));
    await until("the first half arrives", () => server.connections[0].bytesReceived > 5_000);
    let drained = false;
    const draining = server.drain().then(() => {
      drained = true;
    });
    await sleep(20);
    assert.equal(drained, false);
    client.send(Buffer.alloc(5_000));
    assert.equal((await client.simpleReply()).error, 0);
    await draining;
  });

  test("removing an export ends its clients and no others, and waits until they are gone", async (t) => {
    const { open, disk, server } = await startNbd(t, { sizeBytes: 2 ** 40 });
    server.addExport(new NbdMemoryDevice(4096, { name: "b" }));
    const [client, other] = [await open("disk"), await open("b")];
    client.send(requestFrame({ type: CMD.TRIM, length: 2 ** 32 - 1 }));
    await until("the trim begins", () => disk.calls.trim > 0);
    await server.removeExport("disk");
    assert.equal(disk.calls.trim, 16, "what was begun is finished");
    assert.equal((await client.simpleReply()).error, 0);
    assert.equal((await client.rest()).length, 0);
    assert.equal(await other.errorOf({ type: CMD.FLUSH }), 0);
  });
});
