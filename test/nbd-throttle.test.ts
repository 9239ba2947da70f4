// Hazard: one client that takes all there is leaves nothing for the others; and a limit that can be walked around, or
// that keeps a server from ending, is worse than none. Bounds of time are loose: they tell a limit from none.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { NbdServer } from "../src/nbd/index.ts";
import { Bucket } from "../src/nbd/throttle.ts";
import { until } from "./support/nbd-fixture.ts";
import { infoData, type NbdRawClient, requestFrame } from "./support/nbd-raw-client.ts";
import { startNbdOnRegion } from "./support/nbd-region-server.ts";

const MiB = 2 ** 20;
const GO = 7;
const ERR_POLICY = 2 ** 31 + 2;
const COMMAND = { READ: 0, WRITE: 1, FLUSH: 3 } as const;
/** What a limit lets pass at once, with a good margin. */
const burstSeconds = 0.5;
const diskBytes = 4 * MiB;

async function secondsOf(act: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await act();
  return (performance.now() - start) / 1000;
}

/** Reads or writes so many MiB in requests of 256 KiB that are all sent at once. */
async function move(client: NbdRawClient, type: number, mebibytes: number): Promise<void> {
  const length = MiB / 4;
  const payload = type === COMMAND.WRITE ? { payload: Buffer.alloc(length, "x") } : { length };
  for (let k = 0; k < 4 * mebibytes; k++) client.send(requestFrame({ type, offset: (k % 16) * length, ...payload }));
  for (let k = 0; k < 4 * mebibytes; k++) {
    const { error } = await client.simpleReply(type === COMMAND.READ ? length : 0);
    assert.equal(error, 0);
  }
}

for (const threads of [0, 1]) {
  describe(`with ${threads} threads`, () => {
    test("reads and writes of a limited export take their time; those of another one do not wait", async (t) => {
      const { server, disks, open } = await startNbdOnRegion(t, { threads, diskBytes });
      server.addExport(disks.a, { limits: { bytesPerSecond: 5 * MiB } });
      server.addExport(disks.b);
      const [slow, free] = [await open("a"), await open("b")];
      let isSlowDone = false;
      const took = secondsOf(async () => {
        await move(slow, COMMAND.WRITE, 5);
        await move(slow, COMMAND.READ, 5);
        isSlowDone = true;
      });
      await move(free, COMMAND.WRITE, 10);
      await move(free, COMMAND.READ, 10);
      assert.equal(isSlowDone, false, "who has no limit is done before");
      const seconds = await took;
      assert.ok(seconds > 2 - burstSeconds && seconds < 20, `10 MiB at 5 MiB/s took ${seconds} s`);
    });

    test("a limit of requests holds for small ones", async (t) => {
      const { server, disks, open } = await startNbdOnRegion(t, { threads });
      server.addExport(disks.a, { limits: { requestsPerSecond: 200 } });
      const client = await open("a");
      const seconds = await secondsOf(async () => {
        for (let k = 0; k < 400; k++) assert.equal(await client.errorOf({ type: COMMAND.FLUSH }), 0);
      });
      assert.ok(seconds > 2 - burstSeconds, `400 requests at 200/s took ${seconds} s`);
    });

    test("what a client may take its connections share, also those that come one after the other", async (t) => {
      const { server, disks, open } = await startNbdOnRegion(t, {
        threads,
        diskBytes,
        clientLimits: { bytesPerSecond: 4 * MiB },
      });
      server.addExport(disks.a);
      server.addExport(disks.b);
      const seconds = await secondsOf(async () => {
        const both = [await open("a"), await open("b")];
        await Promise.all(both.map((client) => move(client, COMMAND.READ, 2)));
        for (let k = 0; k < 4; k++) {
          const client = await open("a");
          await move(client, COMMAND.READ, 1);
          client.vanish();
          await client.closed;
        }
      });
      assert.ok(seconds > 2 - burstSeconds, `8 MiB at 4 MiB/s took ${seconds} s`);
    });

    test("limited connections of one export take turns", async (t) => {
      const { server, disks, open } = await startNbdOnRegion(t, { threads, diskBytes });
      server.addExport(disks.a, { limits: { bytesPerSecond: 4 * MiB } });
      const [greedy, modest] = [await open("a"), await open("a")];
      let isGreedyDone = false;
      const all = move(greedy, COMMAND.READ, 16).then(() => {
        isGreedyDone = true;
      });
      for (let k = 0; k < 3; k++) await move(modest, COMMAND.READ, 0.25);
      assert.equal(isGreedyDone, false);
      greedy.vanish();
      await assert.rejects(all);
    });

    test("an export, and a client, have no more connections than they may; one that ends makes room", async (t) => {
      const { server, disks, open, greet, warnings } = await startNbdOnRegion(t, {
        threads,
        clientLimits: { maxConnections: 4 },
      });
      server.addExport(disks.a, { limits: { maxConnections: 2 } });
      server.addExport(disks.b);
      const [first] = [await open("a"), await open("a")];
      const third = await greet();
      assert.deepEqual(
        (await third.ask(GO, infoData("a"))).map(({ type }) => type),
        [ERR_POLICY],
      );
      assert.equal((await third.ask(GO, infoData("b"))).at(-1)?.type, 1, "another export may be opened instead");
      first.vanish();
      await first.closed;
      await until("the place is free", () => server.connections.length === 2);
      await open("a");
      await open("b");
      await assert.rejects(open("b"));
      await until("the log tells", () => warnings.length === 2);
      assert.match(warnings[0], /"a" was refused: it has 2/);
      assert.match(warnings[1], /a connection of user \d+ was refused: it has 4/);
    });

    test("neither removing an export nor closing waits for who rests; what was begun is finished", async (t) => {
      const { server, disks, open } = await startNbdOnRegion(t, { threads, diskBytes, drainTimeoutMs: 20_000 });
      const limits = { bytesPerSecond: 1000 };
      server.addExport(disks.a, { limits });
      server.addExport(disks.b, { limits });
      const clients = [await open("a"), await open("b"), await open("b")];
      for (const client of clients) {
        // The write has begun when the read is answered, and would take an hour.
        const write = requestFrame({ type: COMMAND.WRITE, payload: Buffer.alloc(diskBytes, "w") });
        client.send(Buffer.concat([requestFrame({ type: COMMAND.READ, length: 4096 }), write]));
        await client.simpleReply(4096);
      }
      const seconds = await secondsOf(async () => {
        await server.removeExport("a");
        await server.close();
      });
      assert.ok(seconds < 10, `it took ${seconds} s`);
      for (const client of clients) assert.equal((await client.simpleReply()).error, 0);
    });

    test("who is kept waiting on purpose is not cut for being idle", async (t) => {
      const { server, disks, open } = await startNbdOnRegion(t, { threads, diskBytes, idleTimeoutMs: 200 });
      server.addExport(disks.a, { limits: { bytesPerSecond: MiB / 4 } });
      const client = await open("a");
      await move(client, COMMAND.READ, 0.75);
      assert.equal(await client.errorOf({ type: COMMAND.FLUSH }), 0);
    });
  });
}

describe("limits", () => {
  test("a bucket gives no more than its rate and a burst, in whatever portions it is asked", () => {
    const cells = new BigInt64Array(new SharedArrayBuffer(8));
    const bucket = new Bucket({ cells, at: 0 }, 1000);
    let restMs = 0;
    for (let taken = 0; taken < 10_000; taken += 25) restMs = bucket.take(25);
    // Ten seconds' worth, less the burst and what has passed meanwhile.
    assert.ok(restMs > 9_000 && restMs <= 9_750, `${restMs} ms`);
    assert.ok(new Bucket({ cells, at: 0 }, 1000).take(0) > 9_000, "whoever else asks finds the same");
  });

  test("what is no limit is refused by name", () => {
    for (const limit of ["maxConnections", "bytesPerSecond", "requestsPerSecond"]) {
      for (const value of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
        const expected = { code: "EINVAL", message: new RegExp(limit) };
        assert.throws(() => new NbdServer({ clientLimits: { [limit]: value } }), expected);
      }
    }
  });
});
