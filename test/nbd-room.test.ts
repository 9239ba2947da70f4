// Hazard: where memory, a quota or a guarantee decides, threads answer otherwise than the event loop, lose their place
// in the conversation, or keep pages that nobody can use any more.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { until } from "./support/nbd-fixture.ts";
import { errorOfChunks, type NbdRawClient, requestFrame } from "./support/nbd-raw-client.ts";
import { type ServedDisk, serveDisk } from "./support/nbd-served-disk.ts";

const READ = 0;
const WRITE = 1;
const TRIM = 4;
const NOSPC = 28;
const BLOCK = 4096;
/** A disk that has more blocks than its region has pages. */
const crowded = { regionBytes: 2 ** 20, diskBytes: 2 ** 22 };

const filled = (value: number, blocks = 1): Buffer => Buffer.alloc(blocks * BLOCK, value);

/** Writes block after block until there is no room. @returns how many found room */
async function fillUp(client: NbdRawClient, value: number): Promise<number> {
  for (let block = 0; ; block++) {
    const error = await client.errorOf({ type: WRITE, offset: block * BLOCK, payload: filled(value) });
    if (error === 0) continue;
    assert.equal(error, NOSPC);
    return block;
  }
}

/** The first byte of each block. */
async function firstBytes(client: NbdRawClient, blocks: number): Promise<number[]> {
  client.send(requestFrame({ type: READ, length: blocks * BLOCK }));
  const { data } = await client.simpleReply(blocks * BLOCK);
  return Array.from({ length: blocks }, (_, k) => data[k * BLOCK]);
}

for (const threads of [0, 1, 2]) {
  describe(`room, with ${threads} threads`, () => {
    test("a full region refuses new blocks, and those that are there can be overwritten again and again", async (t) => {
      const served = await serveDisk(t, { threads, ...crowded });
      const clients = [await served.open(), await served.open(), await served.open()];
      const blocks = await fillUp(clients[0], 1);
      assert.ok(blocks > 100);
      for (let round = 2; round < 12; round++) {
        await Promise.all(
          clients.map(async (client) => {
            for (let block = 0; block < blocks; block += 10) {
              const payload = filled(round, Math.min(10, blocks - block));
              assert.equal(await client.errorOf({ type: WRITE, offset: block * BLOCK, payload }), 0);
            }
          }),
        );
        assert.deepEqual(new Set(await firstBytes(clients[1], blocks)), new Set([round]));
        assert.equal(await clients[2].errorOf({ type: WRITE, offset: 2 ** 22 - BLOCK, payload: filled(9) }), NOSPC);
      }
    });

    test("a write that meets the end of the room leaves whole blocks, and the conversation goes on", async (t) => {
      const served = await serveDisk(t, { threads, ...crowded });
      const client = await served.open();
      const blocks = await fillUp(client, 1);
      for (const free of [1, 2, 7, 40]) {
        client.send(
          requestFrame({ type: TRIM, offset: 0, length: blocks * BLOCK }),
          requestFrame({ type: WRITE, offset: 0, payload: filled(2, blocks - free) }),
          // Behind what was there: as many blocks as found room before, and some more.
          requestFrame({ type: WRITE, offset: 500 * BLOCK, payload: filled(3, free + 20), cookie: 5 }),
          requestFrame({ type: READ, offset: 0, length: BLOCK, cookie: 6 }),
        );
        assert.deepEqual([(await client.simpleReply()).error, (await client.simpleReply()).error], [0, 0]);
        const refused = await client.simpleReply();
        assert.deepEqual([refused.error, refused.cookie], [NOSPC, 5]);
        const read = await client.simpleReply(BLOCK);
        assert.deepEqual([read.error, read.cookie, read.data[9]], [0, 6, 2]);
        client.send(requestFrame({ type: READ, offset: 500 * BLOCK, length: (free + 20) * BLOCK }));
        const { data } = await client.simpleReply((free + 20) * BLOCK);
        const written = data.lastIndexOf(3) + 1;
        assert.equal(written % BLOCK, 0);
        assert.ok(data.subarray(0, written).every((byte) => byte === 3));
        assert.equal(await client.errorOf({ type: TRIM, offset: 0, length: 2 ** 22 }), 0);
      }
    });

    test("who stops in mid-payload keeps no page when it is gone", async (t) => {
      const served = await serveDisk(t, { threads, ...crowded });
      const steady = await served.open();
      const blocks = await fillUp(steady, 1);
      assert.equal(await steady.errorOf({ type: TRIM, offset: 0, length: 60 * BLOCK }), 0);
      const stalled = [await served.open(), await served.open()];
      for (const client of stalled) client.send(requestFrame({ type: WRITE, length: 60 * BLOCK }), filled(2, 3));
      // Pages that a stalled payload waits in are missing to others, but what is there can be overwritten.
      await until(
        "they have begun",
        () => served.server.connections.filter((one) => one.bytesReceived > BLOCK).length > 2,
      );
      for (let block = 60; block < blocks; block++) {
        assert.equal(await steady.errorOf({ type: WRITE, offset: block * BLOCK, payload: filled(3) }), 0);
      }
      for (const client of stalled) client.vanish();
      await until("they are gone", () => served.server.connections.length === 1);
      assert.equal(await steady.errorOf({ type: WRITE, payload: filled(4, 60) }), 0);
    });

    test("the quota of a disk and the guarantee of another one hold", async (t) => {
      const served = await serveDisk(t, { threads, regionBytes: 2 ** 22, diskBytes: 2 ** 22 });
      served.region.instance("disk", "disk").setQuota({ maxPages: 20 });
      const client = await served.open();
      assert.equal(await fillUp(client, 1), 20);
      assert.equal(await client.errorOf({ type: WRITE, offset: 0, payload: filled(2, 20) }), 0);
      assert.equal(await client.errorOf({ type: WRITE, offset: 15 * BLOCK, payload: filled(3, 10) }), NOSPC);
      assert.deepEqual(new Set((await firstBytes(client, 20)).slice(0, 15)), new Set([2]));
      const sure = served.region.disks.open("sure", { create: true, size: 100 * BLOCK });
      sure.reserve(true);
      served.region.instance("disk", "disk").setQuota({ maxPages: 0 });
      served.server.addExport(sure);
      await fillUp(client, 4);
      const other = await served.open("sure");
      for (const value of [1, 2]) assert.equal(await other.errorOf({ type: WRITE, payload: filled(value, 100) }), 0);
    });

    test("a snapshot stays what it was while its disk is written, trimmed and read", async (t) => {
      const served = await serveDisk(t, { threads });
      const client = await served.open("disk", { structured: true });
      client.send(requestFrame({ type: WRITE, payload: filled(1, 40) }));
      await client.simpleReply();
      const kept = served.disk.snapshot("kept");
      served.server.addExport(kept);
      client.send(
        requestFrame({ type: WRITE, offset: 10 * BLOCK, payload: filled(2, 5) }),
        requestFrame({ type: TRIM, offset: 20 * BLOCK, length: 5 * BLOCK }),
        requestFrame({ type: READ, length: 50 * BLOCK }),
      );
      assert.deepEqual([(await client.simpleReply()).error, (await client.simpleReply()).error], [0, 0]);
      const chunks = await client.chunks();
      const data = Buffer.alloc(50 * BLOCK);
      for (const { type, payload } of chunks) if (type === 1) payload.copy(data, Number(payload.readBigUInt64BE(0)), 8);
      assert.deepEqual([data[0], data[10 * BLOCK], data[20 * BLOCK], data[25 * BLOCK]], [1, 2, 0, 1]);
      const reader = await served.open("kept");
      assert.deepEqual(new Set(await firstBytes(reader, 40)), new Set([1]));
      assert.equal(await reader.errorOf({ type: WRITE, payload: filled(3) }), 1);
      client.send(requestFrame({ type: READ, offset: 2 ** 22, length: BLOCK }));
      assert.equal(errorOfChunks(await client.chunks()), 22);
    });

    test("a disk with checksums is served, whole blocks and parts of them", async (t) => {
      const served: ServedDisk = await serveDisk(t, { threads, checksums: true });
      const client = await served.open();
      assert.equal(await client.errorOf({ type: WRITE, payload: filled(1, 8) }), 0);
      assert.deepEqual(
        await firstBytes(client, 8),
        Array.from({ length: 8 }, () => 1),
      );
      assert.equal(await client.errorOf({ type: WRITE, offset: 100, payload: Buffer.from("part of a block") }), 0);
      client.send(requestFrame({ type: READ, offset: 90, length: 30 }));
      assert.equal((await client.simpleReply(30)).data.toString("latin1", 10, 25), "part of a block");
    });
  });
}
