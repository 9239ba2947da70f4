// Hazard: a server that is told to stop and drops what clients have asked, or what somebody was told is done; one that
// does not stop.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { perdure, RunningCli, readDisk, writeDisk } from "./support/cli.ts";
import { isDisconnected, listExports, serveControlled, succeeds, ways } from "./support/control.ts";
import { requestFrame } from "./support/nbd-raw-client.ts";

const MIB = 2 ** 20;
const WRITE = 1;
const old = Buffer.alloc(4096, "old");
const fresh = Buffer.alloc(4096, "fresh");

describe("SIGTERM", () => {
  for (const { way, flags } of ways) {
    test(`${way}: what was begun is answered, what comes then gets ESHUTDOWN, and the end is clean`, async (t) => {
      const { region, server, open } = await serveControlled(t, ...flags);
      const busy = await open("pram0");
      // As many that each thread has one.
      const idle = [await open("pram0"), await open("pram0"), await open("pram0")];
      const payload = Buffer.alloc(MIB, "whole");
      const frame = requestFrame({ type: WRITE, payload });
      busy.send(frame.subarray(0, 100_000));
      for (const client of idle) await writeDisk(client, MIB, old);
      process.kill(server.pid, "SIGTERM");
      for (const client of idle) assert.ok(await isDisconnected(client), "who asks for nothing is told goodbye");
      busy.send(frame.subarray(100_000), requestFrame({ type: WRITE, cookie: 7, payload: fresh }));
      assert.deepEqual(await busy.simpleReply(), { error: 0, cookie: 1, data: Buffer.alloc(0) });
      const refused = await busy.simpleReply().catch(() => undefined);
      if (refused !== undefined) assert.deepEqual(refused, { error: 108, cookie: 7, data: Buffer.alloc(0) });
      const { code, signal } = await server.ended;
      assert.deepEqual({ code, signal }, { code: 0, signal: null });
      const next = await RunningCli.serve(t, ["serve", region]);
      assert.match(next.stderr, /^warm/);
      assert.deepEqual(await readDisk(await open("pram0"), 0, MIB), payload);
    });

    test(`${way}: a second one ends at once what a client keeps open`, async (t) => {
      const { region, server, open } = await serveControlled(t, ...flags);
      const client = await open("pram0");
      client.send(requestFrame({ type: WRITE, payload: fresh }).subarray(0, 1000));
      await writeDisk(await open("pram0"), MIB, old);
      process.kill(server.pid, "SIGTERM");
      await server.says("stderr", /once more ends at once/);
      const { signal } = await server.stop("SIGTERM");
      assert.equal(signal, "SIGTERM");
      await succeeds("disk", "rm", region, "pram0");
    });
  }

  test("a change whose server is killed is not told as done, nor as refused", async (t) => {
    const { region, server, open } = await serveControlled(t);
    const client = await open("pram0");
    client.send(requestFrame({ type: WRITE, payload: fresh }).subarray(0, 1000));
    await writeDisk(await open("pram0"), MIB, old);
    const removed = perdure(["disk", "rm", region, "pram0"]);
    while ((await listExports(`${region}.sock`)).length > 0);
    await server.stop("SIGKILL");
    const { code, stderr } = await removed;
    assert.equal(code, 1);
    assert.match(stderr, /^perdure: EIO: the server .* ended before it answered\n {2}look with `perdure ls` whether/);
    await succeeds("disk", "rm", region, "pram0");
  });

  test("a change that was begun is done and told; the next one finds the region free", async (t) => {
    const { region, server, open } = await serveControlled(t);
    const client = await open("pram0");
    const frame = requestFrame({ type: WRITE, payload: fresh });
    client.send(frame.subarray(0, 1000));
    await writeDisk(await open("pram0"), MIB, old);
    const removed = succeeds("disk", "rm", region, "pram0");
    while ((await listExports(`${region}.sock`)).length > 0);
    process.kill(server.pid, "SIGTERM");
    await server.says("stderr", /once more ends at once/);
    client.send(frame.subarray(1000));
    assert.match(await removed, /deleted the disk "pram0"/);
    assert.equal((await server.ended).code, 0);
    await succeeds("disk", "undelete", region, "pram0");
  });
});
