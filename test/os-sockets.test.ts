// Hazard: a call that waits where nobody may, an event that is missed, or bytes at a wrong address.

import assert from "node:assert/strict";
import { once } from "node:events";
import { closeSync, mkdtempSync, openSync, readdirSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import {
  acceptNow,
  adoptListener,
  closeSocket,
  copyMemory,
  copyToBuffer,
  endSending,
  listenAtPath,
  listenAtPort,
  makeBell,
  Poller,
  pollFor,
  portOf,
  receiveNow,
  ring,
  Scratch,
  sendBytesNow,
  sendNow,
  silence,
  tuneConnection,
} from "../src/os/index.ts";

/** Both ends of a connection: a descriptor, and a socket of Node. */
async function connected(t: TestContext): Promise<{ fd: number; peer: Socket }> {
  const folder = mkdtempSync(join(tmpdir(), "perdure-os-"));
  const listener = listenAtPath(join(folder, "socket"));
  t.after(() => {
    closeSocket(listener);
    rmSync(folder, { recursive: true });
  });
  assert.equal(acceptNow(listener), -1, "nobody is there, and nobody is waited for");
  const peer = connect({ path: join(folder, "socket"), allowHalfOpen: true });
  peer.on("error", () => {});
  await once(peer, "connect");
  const fd = acceptNow(listener);
  assert.ok(fd > 0);
  tuneConnection(fd, { keepAliveMs: 1000, bufferBytes: 65_536 });
  t.after(() => peer.destroy());
  return { fd, peer };
}

/** Memory with two vectors at its start: bytes 100 to 110, and 200 to 220. */
function vectors(t: TestContext): Scratch {
  const scratch = new Scratch(4096);
  t.after(() => scratch[Symbol.dispose]());
  [
    [100, 10],
    [200, 20],
  ].forEach(([at, length], k) => {
    scratch.bytes.writeBigUInt64LE(BigInt(scratch.address + at), 16 * k);
    scratch.bytes.writeBigUInt64LE(BigInt(length), 16 * k + 8);
  });
  return scratch;
}

test("bytes go to and from the places that vectors name, and no call waits", async (t) => {
  const { fd, peer } = await connected(t);
  t.after(() => closeSocket(fd));
  const scratch = vectors(t);
  assert.equal(receiveNow(fd, scratch.address, 2), -1);
  peer.write("0123456789abcdefg");
  await sleep(20);
  assert.equal(receiveNow(fd, scratch.address, 2), 17);
  assert.equal(scratch.bytes.toString("latin1", 100, 110), "0123456789");
  assert.equal(scratch.bytes.toString("latin1", 200, 207), "abcdefg");
  assert.equal(sendNow(fd, scratch.address, 2), 30);
  assert.equal(sendBytesNow(fd, Buffer.from("and more")), 8);
  const [received] = (await once(peer, "data")) as [Buffer];
  assert.equal(received.toString("latin1").replaceAll("\0", ""), "0123456789abcdefgand more");
  peer.pause();
  let taken = 0;
  for (let sent = 1; sent > 0; taken += Math.max(0, sent)) sent = sendNow(fd, scratch.address, 2);
  assert.ok(taken > 0);
  assert.equal(sendBytesNow(fd, Buffer.from("x")), -1);
});

test("the end of a peer's bytes is told, the end of ours is seen, and a peer that is gone is an error", async (t) => {
  const { fd, peer } = await connected(t);
  t.after(() => closeSocket(fd));
  const scratch = vectors(t);
  peer.end();
  endSending(fd);
  peer.resume();
  await once(peer, "end");
  await sleep(20);
  assert.equal(receiveNow(fd, scratch.address, 2), 0);
  const second = await connected(t);
  t.after(() => closeSocket(second.fd));
  second.peer.destroy();
  await sleep(20);
  assert.throws(() => sendNow(second.fd, scratch.address, 2), { code: "EPIPE" });
  assert.throws(() => sendBytesNow(second.fd, Buffer.from("x")), { code: "EPIPE" });
});

test("a poller tells of what it was asked about, of hang-ups unasked, and of nothing else", async (t) => {
  const { fd, peer } = await connected(t);
  const bell = makeBell();
  using poller = new Poller();
  poller.add(fd, pollFor.readable);
  poller.add(bell, pollFor.readable);
  assert.equal(poller.wait(0), 0);
  ring(bell);
  ring(bell);
  assert.equal(poller.wait(1000), 1);
  assert.deepEqual([poller.fdAt(0), poller.eventsAt(0)], [bell, pollFor.readable]);
  silence(bell);
  assert.equal(poller.wait(0), 0);
  poller.change(fd, pollFor.writable);
  assert.equal(poller.wait(1000), 1);
  assert.deepEqual([poller.fdAt(0), poller.eventsAt(0)], [fd, pollFor.writable]);
  poller.change(fd, 0);
  peer.write("x");
  await sleep(20);
  assert.equal(poller.wait(0), 0);
  peer.destroy();
  await sleep(20);
  assert.equal(poller.wait(1000), 1);
  assert.ok((poller.eventsAt(0) & pollFor.hangUp) !== 0);
  poller.remove(fd);
  assert.equal(poller.wait(0), 0);
  assert.throws(() => poller.change(fd, pollFor.readable), { code: "ENOENT" });
  closeSocket(fd);
  closeSocket(bell);
});

test("TCP of both kinds, sockets that were handed over, and what is no socket", (t) => {
  for (const host of ["127.0.0.1", "::1"]) {
    const fd = listenAtPort(host, 0);
    t.after(() => closeSocket(fd));
    assert.ok(portOf(fd) > 0);
    assert.throws(() => listenAtPort(host, portOf(fd)), { code: "EADDRINUSE" });
    adoptListener(fd);
    assert.equal(acceptNow(fd), -1);
  }
  assert.throws(() => listenAtPort("localhost", 0), { code: "EINVAL" });
  const fds = readdirSync("/proc/self/fd").length;
  assert.throws(() => listenAtPath(join(tmpdir(), "no", "such", "folder")), { code: "ENOENT" });
  assert.equal(readdirSync("/proc/self/fd").length, fds, "a socket that cannot listen is closed");
  const file = openSync("/dev/null", "r");
  t.after(() => closeSync(file));
  assert.throws(() => adoptListener(file), { code: "ENOTSOCK" });
});

test("memory is copied between addresses, and out of them", (t) => {
  const scratch = vectors(t);
  scratch.bytes.write("some bytes", 300);
  copyMemory(scratch.address + 1000, scratch.address + 300, 10);
  const copy = Buffer.alloc(4);
  copyToBuffer(copy, scratch.address + 1005);
  assert.equal(copy.toString(), "byte");
});
