// Hazard: a thread waits in the kernel, and its process does not end; or a thread ends, and takes the server, the
// descriptors of its clients or the region with it.

import assert from "node:assert/strict";
import { readdirSync, statSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Log } from "../src/nbd/log.ts";
import { Child } from "./support/child.ts";
import { memoryFolder } from "./support/cli.ts";
import { FailingDevice } from "./support/nbd-failing-device.ts";
import { assertServes, until } from "./support/nbd-fixture.ts";
import { NbdRawClient, requestFrame } from "./support/nbd-raw-client.ts";
import { serveDisk } from "./support/nbd-served-disk.ts";

const READ = 0;
const WRITE = 1;
const FLUSH = 3;
const childServer = fileURLToPath(new URL("./support/nbd-child-server.js", import.meta.url));
/** Generous: what it should take is two seconds. */
const patienceMs = 5_000;

const entries = (folder: string): number => readdirSync(folder).length;

describe("the process of a server", () => {
  for (const [title, order, expected] of [
    ["process.exit", "exit\n", 3],
    ["an uncaught exception", "throw\n", 1],
    ["a promise that nobody waits for", "reject\n", 1],
    ["closing the server", "close\n", 0],
    ["SIGTERM", "SIGTERM", "SIGTERM"],
    ["SIGKILL", "SIGKILL", "SIGKILL"],
  ] as const) {
    test(`ends by ${title}, with clients idle, stalled and at work`, async (t) => {
      const folder = memoryFolder(t);
      const child = new Child(t, [join(folder, "region"), join(folder, "nbd.sock")], childServer);
      child.process.stdout?.resume();
      assert.equal(await child.line(), "ready");
      const clients = await Promise.all(Array.from({ length: 5 }, () => NbdRawClient.open(join(folder, "nbd.sock"))));
      t.after(() => clients.map((client) => client.vanish()));
      const [busy, reader, writer] = clients;
      assert.equal(await busy.errorOf({ type: WRITE, payload: Buffer.alloc(2 ** 20, 1) }), 0);
      reader.socket.pause();
      reader.send(requestFrame({ type: READ, length: 2 ** 24 }));
      writer.send(requestFrame({ type: WRITE, length: 2 ** 20 }), Buffer.alloc(5000));
      const work = setInterval(() => busy.send(requestFrame({ type: READ, length: 4096 })), 1);
      t.after(() => clearInterval(work));
      await sleep(50);
      if (order.endsWith("\n")) child.process.stdin?.write(order);
      else child.process.kill(order as NodeJS.Signals);
      const ended = child.ended();
      const late = sleep(order === "close\n" ? 2 * patienceMs : patienceMs, "it goes on", { ref: false });
      assert.equal(await Promise.race([ended, late]), expected);
    });
  }
});

describe("a thread that ends by a defect", () => {
  test("closes its clients, is replaced, and leaves no descriptor; others are served all the time", async (t) => {
    const errors: string[] = [];
    const log: Log = { debug() {}, info() {}, warn() {}, error: (_, message) => void errors.push(message) };
    const served = await serveDisk(t, { threads: 2, log });
    const failing = new FailingDevice();
    served.server.addExport(failing);
    (await served.open("failing")).vanish();
    await assertServes(served);
    await until("nobody is there", () => served.server.connections.length === 0);
    const [fds, tasks] = [entries("/proc/self/fd"), entries("/proc/self/task")];
    for (let round = 0; round < 2; round++) {
      const clients = [];
      for (let k = 0; k < 6; k++) clients.push(await served.open());
      const gone = new Set<NbdRawClient>();
      for (const client of clients) void client.closed.then(() => gone.add(client));
      failing.fail();
      await until("a thread ended", () => failing.hasFailed);
      await until("its clients are gone", () => gone.size === 3);
      for (const client of clients) if (!gone.has(client)) assert.equal(await client.errorOf({ type: FLUSH }), 0);
      for (let k = 0; k < 4; k++) await assertServes(served);
      assert.equal(gone.size, 3);
      for (const client of clients) client.vanish();
      await until("nobody is there", () => served.server.connections.length === 0);
      await until("the thread is replaced", () => entries("/proc/self/task") === tasks);
      await until("no descriptor is left", () => entries("/proc/self/fd") <= fds);
    }
    assert.equal(errors.filter((message) => message === "a serving thread failed").length, 2);
  });

  test("does not keep the server from closing, also while it is being replaced", async (t) => {
    const before = entries("/proc/self/task");
    const served = await serveDisk(t, { threads: 2 });
    const failing = new FailingDevice();
    served.server.addExport(failing);
    await assertServes(served);
    failing.fail();
    await until("a thread ended", () => failing.hasFailed);
    await served.server.removeExport("failing");
    await served.server.close();
    await until("no thread is left", () => entries("/proc/self/task") === before);
  });
});

test("memory that was cut off ends the connection that reads it, and is told; the thread goes on", async (t) => {
  const errors: string[] = [];
  const log: Log = { debug() {}, info() {}, warn() {}, error: (_, message) => void errors.push(message) };
  const served = await serveDisk(t, { threads: 1, log });
  const [client, other] = [await served.open(), await served.open()];
  assert.equal(await client.errorOf({ type: WRITE, payload: Buffer.alloc(2 ** 22, 1) }), 0);
  const path = join(served.folder, "region");
  const sizeBytes = statSync(path).size;
  truncateSync(path, 2 ** 20);
  client.send(requestFrame({ type: READ, length: 2 ** 22 }));
  await client.rest();
  assert.deepEqual(errors, ["a connection failed inside the server"]);
  other.send(requestFrame({ type: READ, length: 0 }));
  assert.equal((await other.simpleReply()).error, 0);
  // Its end is put back, so that the region can be closed.
  truncateSync(path, sizeBytes);
});

test("opening and closing servers leaves no descriptor and no thread", async (t) => {
  const served = await serveDisk(t, { threads: 2 });
  await assertServes(served);
  await served.server.close();
  const [fds, tasks] = [entries("/proc/self/fd"), entries("/proc/self/task")];
  for (let round = 0; round < 4; round++) {
    const next = await serveDisk(t, { threads: 2 });
    await assertServes(next);
    await next.server.close();
    await next.region.close();
  }
  await until("no thread is left", () => entries("/proc/self/task") === tasks);
  await until("no descriptor is left", () => entries("/proc/self/fd") <= fds);
});
