// Hazard: a server that listens where it should not, or for whom it should not, or that takes over the address of a
// living one, hands disks to the wrong people or away from the right ones.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { takeActivationFds } from "../src/nbd/activation.ts";
import { NbdServer } from "../src/nbd/index.ts";
import { exportUri } from "../src/nbd/uri.ts";
import { assertServes, startNbd } from "./support/nbd-fixture.ts";
import { NbdMemoryDevice } from "./support/nbd-memory-device.ts";
import { NbdRawClient } from "./support/nbd-raw-client.ts";

describe("listening on a Unix socket", () => {
  test("only the owner may connect, whatever the umask; closing removes the file", async (t) => {
    const before = process.umask(0);
    t.after(() => process.umask(before));
    const nbd = await startNbd(t);
    assert.equal(statSync(nbd.path).mode & 0o777, 0o600);
    assert.equal(process.umask(), 0, "the umask is put back");
    await nbd.server.close();
    assert.equal(existsSync(nbd.path), false);
  });

  test("the socket that a dead server left is replaced, that of a living one is not", async (t) => {
    const nbd = await startNbd(t);
    const second = new NbdServer();
    t.after(() => second.close());
    await assert.rejects(second.listenUnix(nbd.path), { code: "EBUSY", remedy: /stop that server/ });
    await assertServes(nbd);
    const stale = join(nbd.folder, "stale.sock");
    await leaveSocketBehind(stale);
    assert.ok(existsSync(stale));
    await second.listenUnix(stale);
    (await NbdRawClient.greet(stale)).vanish();
  });

  test("what is no socket is not touched, paths that do not fit are refused", async (t) => {
    const { folder, server } = await startNbd(t);
    const file = join(folder, "file");
    writeFileSync(file, "precious");
    symlinkSync(file, join(folder, "link"));
    for (const path of [file, join(folder, "link"), folder]) {
      await assert.rejects(server.listenUnix(path), { code: "EEXIST" });
    }
    assert.ok(existsSync(file));
    for (const path of ["", "a\0b", `/${"x".repeat(107)}`]) {
      await assert.rejects(server.listenUnix(path), { code: "EINVAL" });
    }
    for (const path of [join(folder, "none", "nbd.sock"), join(file, "nbd.sock")]) {
      await assert.rejects(server.listenUnix(path), { name: "PerdureError", code: /EACCES|ENOENT/ });
    }
  });
});

describe("listening elsewhere", () => {
  test("TCP serves the same exports; a taken port is refused with advice", async (t) => {
    const nbd = await startNbd(t);
    const port = await nbd.server.listenTcp("127.0.0.1", 0);
    const client = await NbdRawClient.open({ host: "127.0.0.1", port });
    assert.equal(await client.errorOf({ type: 3 }), 0);
    client.vanish();
    await assert.rejects(nbd.server.listenTcp("127.0.0.1", port), { code: "EBUSY", remedy: /free/ });
    await assertServes(nbd);
  });

  test("a descriptor that is no socket is refused", async (t) => {
    const { server } = await startNbd(t);
    await assert.rejects(server.listenFd(9999), { code: "EINVAL" });
  });

  test("handed over sockets count only when they are meant for this process, and only once", () => {
    const environment = { LISTEN_FDS: "2", LISTEN_PID: "42", LISTEN_FDNAMES: "a:b", OTHER: "x" };
    assert.deepEqual(takeActivationFds({ ...environment }, 43), []);
    assert.deepEqual(takeActivationFds(environment, 42), [3, 4]);
    assert.deepEqual(environment, { OTHER: "x" });
    assert.deepEqual(takeActivationFds(environment, 42), []);
    for (const count of ["", "0", "-1", "1.5", "many", "65"]) {
      assert.throws(() => takeActivationFds({ LISTEN_FDS: count, LISTEN_PID: "1" }, 1), { code: "EINVAL" }, count);
    }
  });
});

describe("an export that gets another name", () => {
  test("is found under that one only, and stays open", async (t) => {
    for (const threads of [0, 1]) {
      const nbd = await startNbd(t, { threads });
      nbd.server.addExport(new NbdMemoryDevice(4096), { name: "other" });
      const client = await nbd.open("disk");
      assert.throws(() => nbd.server.renameExport("nobody", "new"), { code: "ENOENT" });
      assert.throws(() => nbd.server.renameExport("disk", "other"), { code: "EEXIST" });
      assert.throws(() => nbd.server.renameExport("disk", "a\0b"), { code: "EINVAL" });
      nbd.server.renameExport("disk", "new");
      assert.equal(await client.errorOf({ type: 1, payload: Buffer.from("still open") }), 0);
      await nbd.open("new");
      await assert.rejects(nbd.open("disk"), /GO failed/);
      await nbd.server.removeExport("new");
      assert.equal((await client.rest()).length, 0, "it is the same export still");
    }
  });
});

describe("URIs", () => {
  test("name and path are escaped so that clients find them again", () => {
    const unix = exportUri({ kind: "unix", path: "/run/my disks/a&b.sock" }, "pool/disk #1?");
    assert.equal(unix, "nbd+unix:///pool%2Fdisk%20%231%3F?socket=/run/my%20disks/a%26b.sock");
    assert.equal(exportUri({ kind: "tcp", host: "::1", port: 10810 }, "d"), "nbd://[::1]:10810/d");
    assert.equal(exportUri({ kind: "tcp", host: "localhost", port: 10809 }, ""), "nbd://localhost/");
    assert.equal(exportUri({ kind: "tcp", host: "localhost", port: 1 }, "d", true), "nbds://localhost:1/d");
  });

  test("a server tells the URI of its first address, and says when it has none", async (t) => {
    const nbd = await startNbd(t);
    assert.equal(nbd.server.uri("disk"), `nbd+unix:///disk?socket=${nbd.path}`);
    const silent = new NbdServer();
    silent.addExport(nbd.disk);
    assert.throws(() => silent.uri("disk"), { code: "EINVAL", remedy: /listenUnix/ });
  });
});

describe("options and numbers", () => {
  test("options out of range are refused by name", () => {
    assert.throws(() => new NbdServer({ maxConnections: -1 }), { code: "EINVAL", message: /maxConnections/ });
    assert.throws(() => new NbdServer({ drainTimeoutMs: Number.NaN }), { code: "EINVAL", message: /drainTimeoutMs/ });
  });

  test("connections tell who is there and what was moved; the log tells what happens", async (t) => {
    const messages: string[] = [];
    const note = (_: object, message: string): void => void messages.push(message);
    const nbd = await startNbd(t, { log: { debug: note, info: note, warn: note, error: note } });
    const client = await nbd.open();
    await client.errorOf({ type: 1, payload: Buffer.alloc(1000) });
    nbd.disk.failing = "EIO";
    await client.errorOf({ type: 3 });
    const [connection] = nbd.server.connections;
    assert.deepEqual([connection.exportName, connection.requests], ["disk", 2]);
    assert.ok(connection.bytesReceived > 1000 && connection.bytesSent > 50);
    assert.deepEqual(messages, ["a client connected", "a client opened an export", "request failed"]);
  });
});

/** Binds a socket and dies without removing it, as a killed server does. */
async function leaveSocketBehind(path: string): Promise<void> {
  const code = `require("node:net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 9))`;
  await once(spawn(process.execPath, ["-e", code], { stdio: "ignore" }), "exit");
}
