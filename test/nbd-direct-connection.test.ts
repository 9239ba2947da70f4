// Hazard: a connection that asks its thread again and again for what it does not need, or for nothing any more.

import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type Disk, Region } from "../src/index.ts";
import { Batch } from "../src/nbd/batch.ts";
import { PolledClock } from "../src/nbd/clock.ts";
import { type ConnectionHost, DirectConnection } from "../src/nbd/direct-connection.ts";
import { ExportTable } from "../src/nbd/exports.ts";
import { silentLog } from "../src/nbd/log.ts";
import { Session } from "../src/nbd/session.ts";
import { Workbench } from "../src/nbd/workbench.ts";
import { acceptNow, closeSocket, listenAtPath, Poller, pollFor } from "../src/os/index.ts";
import { infoData, optionFrame, requestFrame } from "./support/nbd-raw-client.ts";

/** A connection and its thread, which does a turn when it is told to. */
interface Bench {
  readonly connection: DirectConnection;
  readonly peer: Socket;
  readonly disk: Disk;
  readonly clock: PolledClock;
  /** Serves what is there. @returns whether the connection had anything to do */
  turn(): boolean;
  readonly isForgotten: () => boolean;
}

async function bench(t: TestContext): Promise<Bench> {
  const folder = mkdtempSync(join("/dev/shm", "perdure-nbd-"));
  const region = await Region.open(join(folder, "region"), { create: true, size: "32M" });
  const disk = region.disks.open("disk", { create: true, size: "16M" });
  const workbench = new Workbench();
  const poller = new Poller();
  const listener = listenAtPath(join(folder, "socket"));
  const peer = connect({ path: join(folder, "socket"), allowHalfOpen: true });
  peer.on("error", () => {});
  await once(peer, "connect");
  const fd = acceptNow(listener);
  poller.add(fd, pollFor.readable);
  const clock = new PolledClock();
  let isForgotten = false;
  const host: ConnectionHost = {
    batch: new Batch(workbench),
    clock,
    log: silentLog,
    watch: (_, events) => poller.change(fd, events),
    forget: () => {
      isForgotten = true;
      poller.remove(fd);
    },
    yieldTurn: (who) => clock.soon(() => who.handle(0)),
  };
  const connection = new DirectConnection(fd, host);
  const exports = new ExportTable();
  exports.add({ name: "disk", description: "", device: disk });
  const rest = { tls: "off", log: silentLog, clock, handshakeTimeoutMs: 10_000, draining: false } as const;
  connection.attach(new Session(connection, { id: 1, exports, ...rest }), 0);
  t.after(async () => {
    peer.destroy();
    connection.destroy();
    poller[Symbol.dispose]();
    workbench[Symbol.dispose]();
    closeSocket(listener);
    await region.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const turn = (): boolean => {
    const count = poller.wait(0);
    if (count > 0) connection.handle(poller.eventsAt(0));
    return clock.run() || count > 0;
  };
  peer.write(Buffer.concat([Buffer.from([0, 0, 0, 3]), optionFrame(7, infoData("disk"))]));
  await sleep(10);
  turn();
  return { connection, peer, disk, clock, turn, isForgotten: () => isForgotten };
}

/** Fills the socket with a part of a reply. */
async function block({ peer, disk, turn }: Bench): Promise<void> {
  disk.write(0, Buffer.alloc(2 ** 24, 1));
  peer.pause();
  peer.write(requestFrame({ type: 0, length: 2 ** 24 }));
  await sleep(10);
  while (turn());
}

test("who has nothing to do is not woken up, with replies unsent or without", async (t) => {
  const one = await bench(t);
  while (one.turn());
  await block(one);
  for (let k = 0; k < 10; k++) assert.equal(one.turn(), false);
});

test("a goodbye behind replies that waited is said once, and the end of the peer is seen", async (t) => {
  const one = await bench(t);
  await block(one);
  one.connection.end();
  let receivedBytes = 0;
  one.peer.on("data", (chunk: Buffer) => {
    receivedBytes += chunk.length;
  });
  one.peer.resume();
  const ended = once(one.peer, "end");
  const done = ended.then(() => true);
  while (!(await Promise.race([done, sleep(1, false)]))) one.turn();
  assert.ok(receivedBytes > 100_000, "what was kept for it is sent");
  let turns = 0;
  while (one.turn()) turns++;
  assert.ok(turns < 5, "it is watched only for what the peer still says");
  assert.equal(one.isForgotten(), false);
  one.peer.end();
  await sleep(10);
  one.turn();
  assert.equal(one.isForgotten(), true);
});

test("a long reply is interrupted for the sake of others, and goes on by itself", async (t) => {
  const one = await bench(t);
  // Holes: nothing of the socket's room is used up.
  const requests = Array.from({ length: 40 }, (_, cookie) => requestFrame({ type: 0, length: 2 ** 19, cookie }));
  const before = one.peer.bytesRead;
  one.peer.resume();
  one.peer.write(Buffer.concat(requests));
  let turns = 0;
  while (one.peer.bytesRead - before < 40 * (16 + 2 ** 19)) {
    assert.ok(turns++ < 10_000, "it comes to an end");
    one.turn();
    await sleep(1);
  }
  assert.equal(one.connection.requests, 40);
});

test("requests of every kind leave others their turn", async (t) => {
  const one = await bench(t);
  one.peer.resume();
  const mixed = Buffer.concat([requestFrame({ type: 3 }), requestFrame({ type: 0, length: 1 })]);
  const asked = 3000;
  one.peer.write(Buffer.concat(Array.from({ length: asked / 2 }, () => mixed)));
  await sleep(10);
  for (let before = 0; before < asked; before = one.connection.requests) {
    one.turn();
    assert.ok(one.connection.requests - before < 150, `${one.connection.requests - before} requests in two turns`);
    await sleep(0);
  }
});

test("a peer that is gone while its session works ends the connection, and nothing is thrown", async (t) => {
  const one = await bench(t);
  // FLUSH is answered by the session, not by the data path.
  one.peer.write(Buffer.concat(Array.from({ length: 100 }, () => requestFrame({ type: 3 }))));
  one.peer.destroy();
  await sleep(20);
  while (one.turn());
  assert.equal(one.isForgotten(), true);
  await one.connection.gone;
});
