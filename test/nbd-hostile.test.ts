// Hazard: one client that lies, stalls, floods or dies takes the server, its memory or the other clients with it.
// After every attack the server lives, another client is served, and memory has stayed bounded. The attacks are those
// that brought down other servers (CVE-2017-15118, 2017-15119, 2019-14850, 2019-14851, 2020-10761, 2021-3716,
// 2022-26495, 2022-26496, 2024-7409, 2025-47711, 2025-47712), and those that nbd.md's table of limits answers.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { assertServes, startNbd, until } from "./support/nbd-fixture.ts";
import { NbdMemoryDevice } from "./support/nbd-memory-device.ts";
import { infoData, metaData, NbdRawClient, optionFrame, requestFrame } from "./support/nbd-raw-client.ts";

const KiB = 2 ** 10;
const MiB = 2 ** 20;
const OPT = { EXPORT_NAME: 1, LIST: 3, STARTTLS: 5, INFO: 6, GO: 7, STRUCTURED: 8, SET_META: 10 } as const;
const ERR = {
  UNSUP: 2 ** 31 + 1,
  POLICY: 2 ** 31 + 2,
  INVALID: 2 ** 31 + 3,
  UNKNOWN: 2 ** 31 + 6,
  TOO_BIG: 2 ** 31 + 9,
} as const;

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

/** Memory that the process still needs, which an attack may have grown. */
function memoryBytes(): number {
  collectGarbage();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

/** Waits for the collector, which may lag behind, and fails when the memory of an attack does not come back. */
async function staysBounded(before: number, moreBytes: number): Promise<void> {
  await until("memory stays bounded", () => memoryBytes() - before < moreBytes);
}

describe("a hostile handshake", () => {
  test("names of 3000, 4096 and 4097 bytes are answered, whatever their declared length", async (t) => {
    const nbd = await startNbd(t);
    const client = await nbd.greet();
    for (const [length, error] of [
      [3000, ERR.UNKNOWN],
      [4096, ERR.UNKNOWN],
      [4097, ERR.TOO_BIG],
    ]) {
      const name = "n".repeat(length);
      assert.equal((await client.ask(OPT.INFO, infoData(name)))[0].type, error);
      assert.equal((await client.ask(OPT.GO, infoData(name)))[0].type, error);
    }
    for (const declared of [0xffff_fff0, 0xffff_ffff, 0x7fff_ffff]) {
      const data = infoData("disk");
      data.writeUInt32BE(declared, 0);
      assert.equal((await client.ask(OPT.GO, data))[0].type, ERR.INVALID);
    }
    await assertServes(nbd);
  });

  test("option data above 1 MiB are read past and refused, above 32 MiB the server hangs up", async (t) => {
    const nbd = await startNbd(t);
    const client = await nbd.greet();
    const mebibyte = Buffer.alloc(MiB);
    const before = memoryBytes();
    client.send(optionFrame(OPT.GO, Buffer.alloc(0), 32 * MiB));
    for (let k = 0; k < 32; k++) client.send(mebibyte);
    assert.equal((await client.optionReply()).type, ERR.TOO_BIG);
    await staysBounded(before, 8 * MiB);
    assert.equal((await client.ask(OPT.INFO, infoData("disk"))).at(-1)?.type, 1);
    client.send(optionFrame(OPT.GO, Buffer.alloc(0), 32 * MiB + 1));
    assert.equal((await client.rest()).length, 0);
    await assertServes(nbd);
  });

  test("a million queries in one option are refused or answered once", async (t) => {
    const nbd = await startNbd(t);
    const client = await nbd.greet();
    await client.ask(OPT.STRUCTURED);
    const many = metaData(
      "disk",
      Array.from({ length: 50_000 }, () => "base:allocation"),
    );
    assert.equal((await client.ask(OPT.SET_META, many)).length, 2);
    const infos = infoData(
      "disk",
      Array.from({ length: 65_535 }, () => 3),
    );
    assert.equal((await client.ask(OPT.INFO, infos)).length, 3);
    await assertServes(nbd);
  });

  test("thirty-three options end the connection; a listed export allows thirty-two more, once", async (t) => {
    const nbd = await startNbd(t);
    const patient = await nbd.greet();
    for (let k = 0; k < 32; k++) assert.equal((await patient.ask(99))[0].type, ERR.UNSUP);
    patient.send(optionFrame(99));
    assert.equal((await patient.rest()).length, 0);
    const lister = await nbd.greet();
    for (let k = 0; k < 64; k++) assert.ok((await lister.ask(OPT.LIST)).length === 2);
    lister.send(optionFrame(OPT.LIST));
    assert.equal((await lister.rest()).length, 0);
    await assertServes(nbd);
  });

  test("commands before GO, and options without their magic, end the connection untouched by the device", async (t) => {
    const nbd = await startNbd(t);
    for (const attack of [
      requestFrame({ type: 1, payload: Buffer.alloc(512) }),
      Buffer.from("GET / HTTP/1.1\r\n\r\n"),
    ]) {
      const client = await nbd.greet();
      client.send(attack);
      assert.equal((await client.rest()).length, 0);
    }
    const curious = await nbd.greet();
    await curious.ask(OPT.LIST);
    await curious.ask(OPT.INFO, infoData("disk", [0, 1, 2, 3]));
    assert.ok(
      Object.values(nbd.disk.calls).every((calls) => calls === 0),
      "nothing is done before GO",
    );
    await assertServes(nbd);
  });

  test("STARTTLS with plaintext behind it changes nothing: there is no TLS to inject into", async (t) => {
    const nbd = await startNbd(t);
    const client = await nbd.greet();
    client.send(Buffer.concat([optionFrame(OPT.STARTTLS), optionFrame(OPT.GO, infoData("nope"))]));
    assert.equal((await client.optionReply()).type, ERR.POLICY);
    assert.equal((await client.optionReply()).type, ERR.UNKNOWN);
    await assertServes(nbd);
  });

  test("who does not finish the handshake in time is cut off, one byte at a time or silent", async (t) => {
    const nbd = await startNbd(t, { handshakeTimeoutMs: 150 });
    const steady = await nbd.open();
    const [silent, dribbling] = [await nbd.greet(), await nbd.greet()];
    const dribble = setInterval(() => dribbling.send(Buffer.from("I")), 20);
    t.after(() => clearInterval(dribble));
    await Promise.all([silent.closed, dribbling.closed]);
    assert.equal(await steady.errorOf({ type: 3 }), 0, "an opened export has no such limit");
    await assertServes(nbd);
  });
});

describe("a hostile number of connections", () => {
  test("more than allowed are hung up on; who is connected is served; who leaves makes room", async (t) => {
    const nbd = await startNbd(t, { maxConnections: 20 });
    const first = await nbd.open();
    for (let k = 1; k < 20; k++) await nbd.greet();
    for (let k = 0; k < 200; k++) await assert.rejects(nbd.greet(), /hung up|ECONNRESET|EPIPE/);
    assert.equal(nbd.server.connections.length, 20);
    assert.equal(await first.errorOf({ type: 3 }), 0);
    first.vanish();
    await until("there is room", () => nbd.server.connections.length < 20);
    await assertServes(nbd);
  });

  test("thousands that connect and vanish leave nothing behind", async (t) => {
    const nbd = await startNbd(t);
    for (let k = 0; k < 2000; k++) {
      const client = await nbd.greet();
      if (k % 2 === 0) client.send(optionFrame(OPT.GO, infoData("disk")).subarray(0, k % 40));
      client.vanish();
    }
    await until("they are gone", () => nbd.server.connections.length === 0);
    await assertServes(nbd);
  });

  test("an idle limit, where one is set, cuts connections on which nothing moves", async (t) => {
    const nbd = await startNbd(t, { idleTimeoutMs: 100 });
    const idle = await nbd.open();
    await idle.closed;
    await assertServes(nbd);
  });
});

describe("hostile requests", () => {
  test("the largest lengths are answered at once or hung up on, and allocate nothing", async (t) => {
    const nbd = await startNbd(t, { sizeBytes: 2 ** 50 });
    const before = memoryBytes();
    const client = await nbd.open("disk", { structured: true, context: true });
    const length = 0xffff_ffff;
    for (const type of [0, 7]) {
      client.send(requestFrame({ type, length }));
      assert.equal((await client.chunks()).length, 1);
    }
    for (const type of [4, 5, 6]) assert.equal(await client.errorOf({ type, length, offset: 12345 }), 0);
    client.send(requestFrame({ type: 1, length }));
    assert.equal((await client.rest()).length, 0);
    await staysBounded(before, 16 * MiB);
    await assertServes(nbd);
  });

  test("a write above 64 MiB ends the connection, one of 64 MiB is taken without being held in memory", async (t) => {
    const nbd = await startNbd(t, { sizeBytes: 2 ** 40 });
    const client = await nbd.open();
    const before = memoryBytes();
    client.send(requestFrame({ type: 1, length: 64 * MiB }), Buffer.alloc(500 * KiB));
    await until("the bytes are there", () => nbd.server.connections[0].bytesReceived > 500 * KiB);
    await staysBounded(before, 8 * MiB);
    client.vanish();
    const greedy = await nbd.open();
    greedy.send(requestFrame({ type: 1, length: 64 * MiB + 1 }));
    assert.equal((await greedy.rest()).length, 0);
    assert.equal(nbd.disk.calls.write, 0);
    await assertServes(nbd);
  });

  test("a request with a wrong magic ends the connection", async (t) => {
    const nbd = await startNbd(t);
    for (const magic of [0, 0x12560953, 0x25609514, 0x21e41c71]) {
      const client = await nbd.open();
      client.send(requestFrame({ type: 3, magic }));
      assert.equal((await client.rest()).length, 0);
    }
    await assertServes(nbd);
  });

  test("thousands of reads whose replies nobody reads wait in the socket, not in the heap", async (t) => {
    const nbd = await startNbd(t, { sizeBytes: 64 * MiB });
    nbd.disk.write(0, Buffer.alloc(64 * MiB, 1));
    const before = memoryBytes();
    for (const [length, count] of [
      [4 * KiB, 200_000],
      [MiB, 5_000],
      [32 * MiB, 1_000],
    ]) {
      const client = await nbd.open();
      client.socket.pause();
      const burst = requestFrame({ type: 0, length });
      client.send(Buffer.concat(Array.from({ length: count }, () => burst)));
      await sleep(50);
      await assertServes(nbd);
      const { bytesSent, bytesReceived } = nbd.server.connections[0];
      assert.ok(bytesReceived < MiB, `${bytesReceived} bytes of requests were taken that cannot be answered`);
      assert.ok(bytesSent < 5 * MiB + 2 * length, `${bytesSent} bytes of replies to reads of ${length}`);
      await staysBounded(before, 8 * MiB + 2 * length);
      client.vanish();
      await until("it is gone", () => nbd.server.connections.length === 0);
    }
  });

  test("a reader that wakes up gets every reply", async (t) => {
    const nbd = await startNbd(t);
    const client = await nbd.open();
    client.socket.pause();
    const burst = Array.from({ length: 3000 }, (_, cookie) => requestFrame({ type: 0, length: 4096, cookie }));
    client.send(Buffer.concat(burst));
    await sleep(50);
    client.socket.resume();
    for (let cookie = 0; cookie < 3000; cookie++) assert.equal((await client.simpleReply(4096)).cookie, cookie);
  });

  test("a payload that comes byte by byte costs bytes, not objects", async (t) => {
    const nbd = await startNbd(t);
    const client = await nbd.open();
    client.socket.setNoDelay(true);
    client.send(requestFrame({ type: 1, length: 3000 }));
    for (let k = 0; k < 3000; k++) {
      client.send(Buffer.from([k % 251]));
      if (k % 50 === 0) await sleep(0);
    }
    assert.equal((await client.simpleReply()).error, 0);
    const stored = Buffer.alloc(3000);
    nbd.disk.read(0, stored);
    assert.ok(stored.every((byte, k) => byte === k % 251));
    await assertServes(nbd);
  });

  test("one client's endless work does not keep the others from theirs", async (t) => {
    const nbd = await startNbd(t, { sizeBytes: 2 ** 42 });
    const busy = await nbd.open("disk", { structured: true, context: true });
    busy.socket.on("data", () => {});
    const trim = requestFrame({ type: 4, length: 0xffff_ffff });
    busy.send(Buffer.concat(Array.from({ length: 20_000 }, () => trim)));
    await until("it has begun", () => nbd.disk.calls.trim > 10);
    const served = nbd.disk.calls.trim;
    await assertServes(nbd);
    assert.ok(nbd.disk.calls.trim - served < 1000, "a few turns are enough for the other client");
  });
});

describe("clients that vanish", () => {
  test("in a header, in a payload, with replies under way: nobody else notices", async (t) => {
    const nbd = await startNbd(t, { sizeBytes: 64 * MiB });
    const steady = await nbd.open();
    const port = await nbd.server.listenTcp("127.0.0.1", 0);
    const attacks = [
      requestFrame({ type: 0, length: 1 }).subarray(0, 11),
      Buffer.concat([requestFrame({ type: 1, length: 5 * MiB }), Buffer.alloc(MiB)]),
      Buffer.concat(Array.from({ length: 50 }, () => requestFrame({ type: 0, length: MiB }))),
      requestFrame({ type: 4, length: 64 * MiB }),
      requestFrame({ type: 2 }),
    ];
    for (let k = 0; k < 50; k++) {
      const resets = k % 4 === 0;
      const client = await NbdRawClient.open(resets ? { host: "127.0.0.1", port } : nbd.path);
      client.send(attacks[k % attacks.length]);
      if (k % 3 === 0) await sleep(1);
      if (resets) client.socket.resetAndDestroy();
      else client.vanish();
      assert.equal(await steady.errorOf({ type: 3 }), 0);
    }
    await until("only one is left", () => nbd.server.connections.length === 1);
    await assertServes(nbd);
  });
});

describe("closing the server", () => {
  test("idle clients see the end at once, stalled ones are cut after the drain time", async (t) => {
    const nbd = await startNbd(t, { drainTimeoutMs: 300, sizeBytes: 64 * MiB });
    nbd.disk.write(0, Buffer.alloc(64 * MiB, 1));
    const idle = await nbd.open();
    const negotiating = await nbd.greet();
    const stalledWriter = await nbd.open();
    stalledWriter.send(requestFrame({ type: 1, length: 4096 }), Buffer.alloc(10));
    const stalledReader = await nbd.open();
    stalledReader.socket.pause();
    for (let k = 0; k < 20; k++) stalledReader.send(requestFrame({ type: 0, length: 32 * MiB }));
    await until("replies pile up", () => nbd.server.connections.some(({ bytesSent }) => bytesSent > 32 * MiB));
    const started = Date.now();
    const closing = nbd.server.close();
    assert.equal(nbd.server.close(), closing, "closing twice is closing once");
    await Promise.all([idle.closed, negotiating.closed]);
    await closing;
    assert.ok(Date.now() - started < 2000);
    assert.deepEqual(nbd.server.connections, []);
    await assert.rejects(nbd.open(), { code: "ENOENT" }, "the socket file is gone");
    await assert.rejects(nbd.server.listenUnix(nbd.path), { code: "CLOSED" });
  });

  test("closing while clients connect, ask and vanish always ends", async (t) => {
    for (let round = 0; round < 10; round++) {
      const nbd = await startNbd(t, { disk: new NbdMemoryDevice(MiB), drainTimeoutMs: 200 });
      const visit = async (_: unknown, k: number): Promise<void> => {
        const client = await nbd.open();
        for (let n = 0; n < 50; n++) await client.errorOf({ type: 1, payload: Buffer.alloc(100 * k) });
      };
      const crowd = Promise.allSettled(Array.from({ length: 20 }, visit));
      await sleep(round * 2);
      await nbd.server.close();
      await crowd;
      assert.deepEqual(nbd.server.connections, []);
    }
  });
});
