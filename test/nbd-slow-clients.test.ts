// Hazard: a client that reads slowly, writes slowly, stalls or vanishes keeps a thread, its memory or the export from
// others. For the event loop and for threads, on a real disk.

import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { assertServes, until } from "./support/nbd-fixture.ts";
import { type NbdRawClient, requestFrame } from "./support/nbd-raw-client.ts";
import { type ServedDisk, serveDisk } from "./support/nbd-served-disk.ts";

const KiB = 2 ** 10;
const MiB = 2 ** 20;
const READ = 0;
const WRITE = 1;
const FLUSH = 3;
const SHUTDOWN = 108;

/** Enough for replies that no socket takes at once. */
const roomy = { regionBytes: 160 * MiB, diskBytes: 64 * MiB };

function fill({ disk }: ServedDisk): void {
  for (let block = 0; block < disk.sizeBytes / 4096; block++) disk.write(block * 4096, Buffer.alloc(4096, block % 251));
}

/** A client that has asked for the whole disk and reads nothing. */
async function stalledReader(served: ServedDisk): Promise<NbdRawClient> {
  const client = await served.open();
  client.socket.pause();
  client.send(requestFrame({ type: READ, length: 64 * MiB, cookie: 77 }));
  await until("a part of the reply is sent", () =>
    served.server.connections.some(({ bytesSent }) => bytesSent > 100_000),
  );
  return client;
}

for (const threads of [0, 1, 2]) {
  describe(`slow clients of ${threads} threads`, () => {
    test("a reader that stalls and wakes up gets every byte of every reply", async (t) => {
      const served = await serveDisk(t, { threads, ...roomy });
      fill(served);
      const client = await stalledReader(served);
      client.send(requestFrame({ type: READ, offset: 4096, length: 4096, cookie: 78 }));
      await assertServes(served);
      client.socket.resume();
      const { data } = await client.simpleReply(64 * MiB);
      for (let block = 1; block < 16384; block++) assert.equal(data[block * 4096 + 7], block % 251);
      assert.equal((await client.simpleReply(4096)).cookie, 78);
    });

    test("a block that comes byte by byte is there when it is answered, and not before it is whole", async (t) => {
      const served = await serveDisk(t, { threads });
      const client = await served.open();
      client.socket.setNoDelay(true);
      const request = requestFrame({ type: WRITE, offset: 8192, payload: Buffer.alloc(4096, 9) });
      for (let at = 0; at < request.length; at++) {
        if (at === request.length - 1) assert.equal(blockAt(served, 2)[0], 0, "no part of it is shown");
        client.send(request.subarray(at, at + 1));
        if (at < 60 || at % 100 === 0) await sleep(0);
      }
      assert.equal((await client.simpleReply()).error, 0);
      assert.ok(blockAt(served, 2).every((byte) => byte === 9));
    });

    test("who vanishes at any moment leaves whole blocks, and keeps no page", async (t) => {
      const served = await serveDisk(t, { threads });
      const { region, server, disk } = served;
      disk.write(0, Buffer.alloc(64 * 4096, 1));
      const freeBefore = region.info().freePages;
      const write = requestFrame({ type: WRITE, payload: Buffer.alloc(64 * 4096, 2) });
      for (const bytes of [0, 5, 27, 28, 29, 4123, 4124, 100_000, write.length - 1, write.length]) {
        const client = await served.open();
        client.send(write.subarray(0, bytes));
        await sleep(2);
        client.vanish();
        await until("it is gone", () => server.connections.length === 0);
        for (let block = 0; block < 64; block++) {
          const content = blockAt(served, block);
          assert.ok(content.every((byte) => byte === content[0]));
        }
      }
      await until("no page is kept", () => region.info().freePages === freeBefore);
      await assertServes(served);
    });

    test("a client that asks for more than it can be given leaves others their turn", async (t) => {
      const served = await serveDisk(t, { threads, ...roomy });
      const greedy = await served.open("disk", { structured: true });
      const requestsOf = (k: number): number => served.server.connections[k].requests;
      const small = await served.open();
      // All of it is holes: each reply is a few chunks of 32 bytes.
      const burst = requestFrame({ type: READ, length: 64 * MiB });
      greedy.send(Buffer.concat(Array.from({ length: 30_000 }, () => burst)));
      await until("it is served", () => requestsOf(0) > 10);
      const before = requestsOf(0);
      for (let k = 0; k < 5; k++) assert.equal(await small.errorOf({ type: FLUSH }), 0);
      assert.ok(requestsOf(0) - before < 2_000, `${requestsOf(0) - before} requests came first`);
    });

    test("after a drain everything new is refused, to who has asked before and who has not", async (t) => {
      const served = await serveDisk(t, { threads });
      const [busy, silent] = [await served.open(), await served.open()];
      assert.equal(await busy.errorOf({ type: WRITE, payload: Buffer.alloc(4096, 1) }), 0);
      await served.server.drain();
      for (const client of [busy, silent]) {
        assert.equal(await client.errorOf({ type: WRITE, payload: Buffer.alloc(4096, 2) }), SHUTDOWN);
        assert.equal(await client.errorOf({ type: READ, length: 4096 }), SHUTDOWN);
      }
      assert.equal(blockAt(served, 0)[0], 1);
    });

    test("an export goes when its clients have the answers that were begun; who stalls is cut", async (t) => {
      const served = await serveDisk(t, { threads, ...roomy, drainTimeoutMs: 400 });
      fill(served);
      const [reader, writer] = [await stalledReader(served), await served.open()];
      writer.send(requestFrame({ type: WRITE, length: MiB }), Buffer.alloc(10_000, 5));
      const stalled = await stalledReader(served);
      const removed = served.server.removeExport("disk");
      reader.socket.resume();
      const reply = await reader.simpleReply(64 * MiB);
      assert.deepEqual([reply.error, reply.cookie, reply.data[5 * 4096]], [0, 77, 5]);
      assert.equal((await reader.rest()).length, 0);
      await removed;
      assert.deepEqual(served.server.connections, []);
      served.server.addExport(served.disk);
      await assertServes(served);
      stalled.vanish();
    });

    test("a name may be served again before its clients are gone", async (t) => {
      const served = await serveDisk(t, { threads, ...roomy, drainTimeoutMs: 200 });
      fill(served);
      await stalledReader(served);
      const removed = served.server.removeExport("disk");
      served.server.addExport(served.disk);
      await assertServes(served);
      await removed;
      await assertServes(served);
    });

    test("an idle limit cuts an opened connection on which nothing moves, and no other", async (t) => {
      const served = await serveDisk(t, { threads, idleTimeoutMs: 400 });
      const [idle, busy] = [await served.open(), await served.open()];
      while (!idle.socket.closed) {
        assert.equal(await busy.errorOf({ type: READ, length: 0 }), 0);
        await sleep(20);
      }
      assert.equal(await busy.errorOf({ type: FLUSH }), 0);
    });

    test("a disk that grows is served at its new size on open connections", async (t) => {
      const served = await serveDisk(t, { threads });
      const client = await served.open();
      const place = { type: WRITE, offset: 4 * MiB, payload: Buffer.alloc(4096, 3) };
      assert.equal(await client.errorOf(place), 28);
      served.disk.grow(8 * MiB);
      assert.equal(await client.errorOf(place), 0);
      client.send(requestFrame({ type: READ, offset: 4 * MiB - 10, length: 20 }));
      assert.deepEqual([...(await client.simpleReply(20)).data], [...Buffer.alloc(10), ...Buffer.alloc(10, 3)]);
    });
  });
}

test("a thousand idle clients take no thread, and no descriptor when they are gone", async (t) => {
  const served = await serveDisk(t, { threads: 2, maxConnections: 1100 });
  await assertServes(served);
  await until("nobody is there", () => served.server.connections.length === 0);
  const count = (folder: string): number => readdirSync(folder).length;
  const [tasks, fds] = [count("/proc/self/task"), count("/proc/self/fd")];
  const clients: NbdRawClient[] = [];
  for (let k = 0; k < 1000; k++) clients.push(await served.open());
  assert.equal(served.server.connections.length, 1000);
  assert.equal(count("/proc/self/task"), tasks);
  for (const client of clients.slice(0, 16)) {
    assert.equal(await client.errorOf({ type: WRITE, payload: Buffer.alloc(64 * KiB, 1) }), 0);
  }
  for (const client of clients) client.vanish();
  await until("they are gone", () => served.server.connections.length === 0);
  await until("so are their descriptors", () => count("/proc/self/fd") <= fds);
  await assertServes(served);
});

function blockAt({ disk }: ServedDisk, block: number): Buffer {
  const content = Buffer.alloc(4096);
  disk.read(block * 4096, content);
  return content;
}
