// Hazard: a client ends a thread, fills its memory or keeps others from their turn, by what it says or does not say.
// PERDURE_HOSTILE_SECONDS goes on with random mutations for so long.

import assert from "node:assert/strict";
import { connect } from "node:net";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import type { Log } from "../src/nbd/log.ts";
import { below, seeded } from "../src/testing/index.ts";
import { assertServes, until } from "./support/nbd-fixture.ts";
import { anyMode, anyRequest, cut, stream } from "./support/nbd-oracle.ts";
import { errorOfChunks, NbdRawClient, requestFrame } from "./support/nbd-raw-client.ts";
import { type ServedDisk, serveDisk } from "./support/nbd-served-disk.ts";
import { seed } from "./support/seed.ts";

const KiB = 2 ** 10;
const MiB = 2 ** 20;
const READ = 0;
const WRITE = 1;
/** All that threads, the kernel's pages of them included, may take more than before. */
const tolerableBytes = 160 * MiB;
const mutationMs = 1000 * Number(process.env["PERDURE_HOSTILE_SECONDS"] ?? 0);
const leastMutations = 150;

/** A server of threads in which a defect would be told. */
async function serveCarefully(t: Parameters<typeof serveDisk>[0], sizes: object = {}): Promise<[ServedDisk, string[]]> {
  const defects: string[] = [];
  const log: Log = {
    debug() {},
    info() {},
    warn() {},
    error: (fields, message) => void defects.push(`${message} ${(fields as { err?: Error }).err?.stack}`),
  };
  return [await serveDisk(t, { threads: 2, log, maxConnections: 50, ...sizes }), defects];
}

describe("hostile requests to threads", () => {
  test("lengths and offsets beyond everything are refused, payloads above 64 MiB end the connection", async (t) => {
    const [served, defects] = await serveCarefully(t, { diskBytes: 2 ** 40 });
    const client = await served.open("disk", { structured: true });
    for (const offset of [2n ** 40n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n, 2n ** 64n - 4096n]) {
      client.send(requestFrame({ type: READ, offset, length: 4096 }));
      assert.equal(errorOfChunks(await client.chunks()), 22);
      assert.equal(await client.errorOf({ type: WRITE, offset, payload: Buffer.alloc(4096) }), 28);
    }
    client.send(requestFrame({ type: READ, length: 0xffff_f000 }));
    assert.equal(errorOfChunks(await client.chunks()), 22);
    for (const length of [64 * MiB + 4096, 0xffff_f000]) {
      const greedy = await served.open();
      greedy.send(requestFrame({ type: WRITE, length }), Buffer.alloc(MiB));
      assert.equal((await greedy.rest()).length, 0);
    }
    assert.equal(served.disk.allocatedBytes, 0, "nothing of them was written");
    await assertServes(served);
    assert.deepEqual(defects, []);
  });

  test("what is no request ends the connection, behind requests and in their midst", async (t) => {
    const [served, defects] = await serveCarefully(t);
    for (const magic of [0, 0x12560953, 0x25609514, 0x21e41c71]) {
      const client = await served.open();
      client.send(
        requestFrame({ type: WRITE, payload: Buffer.alloc(8192, 1), cookie: 1 }),
        requestFrame({ type: READ, length: 4096, cookie: 2 }),
        requestFrame({ type: READ, length: 4096, cookie: 3, magic }),
        requestFrame({ type: WRITE, payload: Buffer.alloc(4096, 2), cookie: 4 }),
      );
      assert.deepEqual([(await client.simpleReply()).cookie, (await client.simpleReply(4096)).cookie], [1, 2]);
      assert.equal((await client.rest()).length, 0);
      const content = Buffer.alloc(1);
      served.disk.read(0, content);
      assert.equal(content[0], 1);
    }
    await assertServes(served);
    assert.deepEqual(defects, []);
  });

  test("replies that nobody reads wait in the socket, and requests that are not answered are not taken", async (t) => {
    const [served, defects] = await serveCarefully(t, { regionBytes: 160 * MiB, diskBytes: 64 * MiB });
    for (let at = 0; at < 64 * MiB; at += MiB) served.disk.write(at, Buffer.alloc(MiB, 1));
    await assertServes(served);
    const before = process.memoryUsage().rss;
    const clients: NbdRawClient[] = [];
    for (let k = 0; k < 12; k++) {
      const [length, count] = [
        [4 * KiB, 20_000],
        [MiB, 5_000],
        [64 * MiB, 1_000],
      ][k % 3];
      const client = await served.open("disk", { structured: k % 2 === 0 });
      clients.push(client);
      client.socket.pause();
      const burst = requestFrame({ type: READ, length });
      client.send(Buffer.concat(Array.from({ length: count }, () => burst)));
    }
    await sleep(200);
    await assertServes(served);
    for (const { bytesReceived, bytesSent } of served.server.connections) {
      assert.ok(bytesReceived <= 3 * MiB && bytesSent < 8 * MiB, `${bytesReceived} came, ${bytesSent} were sent`);
    }
    assert.ok(process.memoryUsage().rss - before < tolerableBytes);
    for (const client of clients) client.vanish();
    await until("they are gone", () => served.server.connections.length === 0);
    assert.deepEqual(defects, []);
  });

  test("peers that vanish and reset are no defects", async (t) => {
    const [served, defects] = await serveCarefully(t);
    const port = await served.server.listenTcp("127.0.0.1", 0);
    const bursts = [
      Buffer.concat(Array.from({ length: 200 }, () => requestFrame({ type: READ, length: 2 * MiB }))),
      // Behind the first one the event loop's code answers.
      Buffer.concat(
        Array.from({ length: 2000 }, () => requestFrame({ type: READ, offset: 1, length: 4096, flags: 1 })),
      ),
      Buffer.concat(Array.from({ length: 2000 }, () => requestFrame({ type: 3 }))),
      requestFrame({ type: WRITE, length: MiB }),
    ];
    for (let k = 0; k < 60; k++) {
      const client = await NbdRawClient.open(k % 2 === 0 ? served.path : { host: "127.0.0.1", port });
      client.send(bursts[k % bursts.length]);
      if (k % 3 > 0) await sleep(k % 3);
      if (k % 2 === 0) client.vanish();
      else client.socket.resetAndDestroy();
    }
    await until("they are gone", () => served.server.connections.length === 0);
    await assertServes(served);
    assert.deepEqual(defects, []);
  });
});

test(`conversations with any byte wrong end, and hurt nobody (PERDURE_SEED=${seed})`, async (t) => {
  const [served, defects] = await serveCarefully(t, { handshakeTimeoutMs: 2000 });
  const random = seeded(seed);
  const steady = await served.open();
  await assertServes(served);
  const before = process.memoryUsage().rss;
  const endMs = Date.now() + mutationMs;
  let count = 0;
  for (; count < leastMutations || Date.now() < endMs; count++) {
    const arbitrary = fc.tuple(fc.array(anyRequest(2 ** 22, 4096), { minLength: 1, maxLength: 30 }), anyMode);
    const [[requests, mode]] = fc.sample(arbitrary, { numRuns: 1, seed: seed + count });
    const bytes = mutate(stream(requests, mode, below(random, 2) === 0), random);
    const pieces = below(random, 2) === 0 ? [bytes] : cut(bytes, [1 + below(random, 9000)]);
    await converse(served.path, pieces, below(random, 4));
    if (count % 10 === 0) assert.equal(await steady.errorOf({ type: READ, length: 0 }), 0, `after ${count}`);
  }
  await until("they are gone", () => served.server.connections.length === 1);
  await assertServes(served);
  assert.ok(process.memoryUsage().rss - before < tolerableBytes);
  assert.deepEqual(defects, []);
  t.diagnostic(`${count} conversations`);
});

/** Changes bytes, takes some away, says some twice, or puts others between. */
function mutate(valid: Buffer, random: () => number): Buffer {
  let bytes = Buffer.from(valid);
  for (let k = 1 + below(random, 4); k > 0; k--) {
    const at = below(random, bytes.length);
    const length = below(random, Math.min(64, bytes.length - at));
    const [before, after] = [bytes.subarray(0, at), bytes.subarray(at)];
    const garbage = Buffer.from(Array.from({ length }, () => below(random, 256)));
    switch (below(random, 5)) {
      case 0:
        bytes[at] ^= 1 << below(random, 8);
        break;
      case 1:
        garbage.copy(bytes, at);
        break;
      case 2:
        bytes = Buffer.concat([before, garbage, after]);
        break;
      case 3:
        bytes = Buffer.concat([before, after.subarray(0, length), after]);
        break;
      default:
        bytes = Buffer.concat([before, after.subarray(length)]);
    }
    if (bytes.length === 0) return bytes;
  }
  return bytes;
}

/** Says all pieces; then waits for the end of the answers, vanishes, or does not read. */
function converse(path: string, pieces: readonly Buffer[], manner: number): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect({ path, allowHalfOpen: true });
    socket.on("error", () => {});
    socket.on("close", () => resolve());
    socket.on("end", () => socket.destroy());
    if (manner !== 1) socket.resume();
    for (const piece of pieces) socket.write(piece);
    if (manner <= 1) socket.end();
    if (manner === 1) setTimeout(() => socket.destroy(), 5);
    if (manner === 2) setTimeout(() => socket.destroy(), below(Math.random, 4));
    if (manner === 3) socket.end(() => setTimeout(() => socket.destroy(), 2));
  });
}
