// Hazard: a mounted file system does not survive its server, unless somebody stands in between who forgets no request,
// answers none twice, and never goes on with another disk than the one that was mounted.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { isPerdureError } from "../src/base/index.ts";
import { type Log, NbdRelay, type NbdRelayOptions, NbdServer, parseExportUri } from "../src/nbd/index.ts";
import { until } from "./support/nbd-fixture.ts";
import { NbdMemoryDevice } from "./support/nbd-memory-device.ts";
import { NbdRawClient, requestFrame } from "./support/nbd-raw-client.ts";

const READ = 0;
const WRITE = 1;
const DISC = 2;
const FLUSH = 3;
const KiB = 2 ** 10;
const MiB = 2 ** 20;

/** A server that can be ended and started again, a relay before it, and clients of that. */
class Bed {
  readonly serverPath: string;
  readonly relayPath: string;
  readonly folder: string;
  readonly told: string[] = [];
  server: NbdServer | undefined;
  relay: NbdRelay | undefined;
  readonly #t: TestContext;

  constructor(t: TestContext) {
    this.#t = t;
    this.folder = mkdtempSync(join(tmpdir(), "perdure-relay-"));
    this.serverPath = join(this.folder, "server.sock");
    this.relayPath = join(this.folder, "relay.sock");
    t.after(async () => {
      await this.relay?.close();
      await this.server?.close();
      rmSync(this.folder, { recursive: true });
    });
  }

  async serve(disk: NbdMemoryDevice, description = "the disk"): Promise<void> {
    this.server = new NbdServer({ drainTimeoutMs: 500 });
    this.server.addExport(disk, { description });
    await this.server.listenUnix(this.serverPath);
  }

  /** Ends the server as a stop does: with answers of ESHUTDOWN, then without a word. */
  async end(): Promise<void> {
    await this.server?.close();
  }

  async start(options: NbdRelayOptions = {}): Promise<void> {
    const tell = (_fields: object, message: string): void => void this.told.push(message);
    const log: Log = { debug() {}, info() {}, warn: tell, error: tell };
    this.relay = await NbdRelay.open(parseExportUri(`nbd+unix:///disk?socket=${this.serverPath}`), { log, ...options });
    await this.relay.listenUnix(this.relayPath);
  }

  async client(name = "disk"): Promise<NbdRawClient> {
    const client = await NbdRawClient.open(this.relayPath, name);
    this.#t.after(() => client.vanish());
    return client;
  }
}

describe("a relay", () => {
  test("passes everything on while the server lives", async (t) => {
    const bed = new Bed(t);
    const disk = new NbdMemoryDevice(MiB);
    await bed.serve(disk);
    await bed.start();
    const client = await bed.client();
    const payload = Buffer.alloc(300 * KiB, 5);
    client.send(
      requestFrame({ type: WRITE, offset: 100, payload, cookie: 77 }),
      requestFrame({ type: READ, offset: 99, length: 3, cookie: 78 }),
      requestFrame({ type: READ, offset: MiB, length: 1, cookie: 79 }),
      requestFrame({ type: FLUSH, cookie: 80 }),
    );
    assert.deepEqual(await client.simpleReply(), { error: 0, cookie: 77, data: Buffer.alloc(0) });
    assert.deepEqual(await client.simpleReply(3), { error: 0, cookie: 78, data: Buffer.from([0, 5, 5]) });
    assert.deepEqual(await client.simpleReply(), { error: 22, cookie: 79, data: Buffer.alloc(0) });
    assert.deepEqual(await client.simpleReply(), { error: 0, cookie: 80, data: Buffer.alloc(0) });
    client.send(requestFrame({ type: DISC }));
    await client.closed;
    await until("the server has lost its client", () => bed.server?.connections.length === 0);
  });

  test("holds requests while there is no server, and sends each to the next one", async (t) => {
    const bed = new Bed(t);
    const disk = new NbdMemoryDevice(MiB);
    await bed.serve(disk);
    await bed.start();
    const client = await bed.client();
    assert.equal(await client.errorOf({ type: WRITE, offset: 0, payload: Buffer.from("before") }), 0);
    await bed.end();
    client.send(
      requestFrame({ type: WRITE, offset: 0, payload: Buffer.from("during"), cookie: 1 }),
      requestFrame({ type: READ, offset: 0, length: 6, cookie: 2 }),
    );
    await until("the relay tells", () => bed.told.length > 0);
    assert.match(bed.told[0], /no server listens on .*server\.sock: requests wait/);
    await bed.serve(disk);
    assert.equal((await client.simpleReply()).error, 0);
    assert.equal((await client.simpleReply(6)).data.toString(), "during");
    assert.match(bed.told.at(-1) ?? "", /is back/);
    assert.equal(disk.calls.write, 2);
  });

  test("takes a server that shuts down for one that will come back", async (t) => {
    const bed = new Bed(t);
    const disk = new NbdMemoryDevice(MiB);
    await bed.serve(disk);
    await bed.start();
    const client = await bed.client();
    assert.equal(await client.errorOf({ type: FLUSH }), 0);
    await bed.server?.drain();
    const before = bed.server?.connections[0].requests ?? 0;
    client.send(requestFrame({ type: WRITE, payload: Buffer.from("late"), cookie: 3 }));
    await until("it was refused", () => (bed.server?.connections[0].requests ?? 0) > before);
    await bed.end();
    await bed.serve(disk);
    assert.deepEqual(await client.simpleReply(), { error: 0, cookie: 3, data: Buffer.alloc(0) });
  });

  test("does not go on with another disk, or one that has shrunk, and does when the right one is back", async (t) => {
    const bed = new Bed(t);
    const disk = new NbdMemoryDevice(MiB);
    await bed.serve(disk);
    await bed.start();
    const client = await bed.client();
    await bed.end();
    client.send(requestFrame({ type: WRITE, offset: 0, payload: Buffer.from("mine"), cookie: 9 }));
    const others: [NbdMemoryDevice, string, RegExp][] = [
      [new NbdMemoryDevice(MiB), "a fresh disk", /another disk: it is "a fresh disk"/],
      [new NbdMemoryDevice(MiB / 2), "the disk", /another disk: it has 524288 bytes/],
      [new NbdMemoryDevice(MiB, { readOnly: true }), "the disk", /another disk: its abilities/],
    ];
    for (const [other, description, expected] of others) {
      await bed.serve(other, description);
      await until("the difference is told", () => expected.test(bed.told.at(-1) ?? ""));
      assert.equal(other.calls.write, 0);
      await bed.end();
    }
    disk.sizeBytes *= 2;
    await bed.serve(disk);
    assert.deepEqual(await client.simpleReply(), { error: 0, cookie: 9, data: Buffer.alloc(0) });
  });

  test("with a timeout requests fail when it is over, and succeed again when the server is back", async (t) => {
    const bed = new Bed(t);
    const disk = new NbdMemoryDevice(MiB);
    await bed.serve(disk);
    await bed.start({ timeoutMs: 50 });
    const client = await bed.client();
    await bed.end();
    for (let k = 0; k < 2; k++) {
      assert.equal(await client.errorOf({ type: WRITE, offset: 0, payload: Buffer.from("lost") }), 5);
    }
    await bed.serve(disk);
    await until("the server is back", () => /is back/.test(bed.told.at(-1) ?? ""));
    assert.equal(await client.errorOf({ type: WRITE, offset: 0, payload: Buffer.from("kept") }), 0);
  });

  test("makes a client wait that has more under way than it keeps", async (t) => {
    const bed = new Bed(t);
    const disk = new NbdMemoryDevice(4 * MiB);
    await bed.serve(disk);
    await bed.start();
    const client = await bed.client();
    await bed.end();
    const payload = Buffer.alloc(MiB, 1);
    const count = 80;
    for (let k = 0; k < count; k++) client.send(requestFrame({ type: WRITE, payload, cookie: k }));
    let waiting = Number.POSITIVE_INFINITY;
    while (client.socket.writableLength < waiting) {
      waiting = client.socket.writableLength;
      await sleep(200);
    }
    assert.ok(waiting > 32 * MiB, "what is more than the relay keeps has not left the client");
    await bed.serve(disk);
    for (let k = 0; k < count; k++)
      assert.deepEqual(await client.simpleReply(), { error: 0, cookie: k, data: Buffer.alloc(0) });
  });

  test("a server that dies at any byte of its replies leaves no half of one", async (t) => {
    const bed = new Bed(t);
    const disk = new NbdMemoryDevice(MiB);
    disk.write(0, Buffer.alloc(8 * KiB, 3));
    await bed.serve(disk);
    // Between server and relay stands one who cuts connections after so many bytes of the command phase.
    const cutterPath = join(bed.folder, "cutter.sock");
    let patienceBytes = 0;
    let cuts = 0;
    const cutter = createServer((socket) => cutAfter(socket, bed.serverPath, () => ++cuts && (patienceBytes += 331)));
    await new Promise<void>((resolve) => cutter.listen(cutterPath, resolve));
    t.after(() => cutter.close());
    bed.relay = await NbdRelay.open(parseExportUri(`nbd+unix:///disk?socket=${cutterPath}`));
    await bed.relay.listenUnix(bed.relayPath);
    const client = await bed.client();
    for (let k = 0; k < 8; k++) {
      client.send(requestFrame({ type: READ, offset: k * KiB, length: KiB, cookie: 100 + k }));
    }
    for (let k = 0; k < 8; k++) {
      assert.deepEqual(await client.simpleReply(KiB), { error: 0, cookie: 100 + k, data: Buffer.alloc(KiB, 3) });
    }
    assert.ok(cuts > 5, `${cuts} connections were cut`);
  });

  test("clients may ask what it has; what it does not speak is refused", async (t) => {
    const bed = new Bed(t);
    await bed.serve(new NbdMemoryDevice(12345));
    await bed.start();
    const client = await NbdRawClient.greet(bed.relayPath);
    t.after(() => client.vanish());
    assert.deepEqual(
      (await client.ask(3)).map(({ type }) => type),
      [2, 1],
    );
    assert.equal((await client.ask(8))[0].type, 2 ** 31 + 1, "structured replies");
    assert.equal((await client.ask(7, Buffer.from([0, 0, 0, 1, 120, 0, 0])))[0].type, 2 ** 31 + 6);
    const [info] = await client.ask(7, Buffer.alloc(6));
    assert.equal(info.data.readBigUInt64BE(2), 12345n);
    await assert.rejects(bed.client("another"), /GO failed/);
  });

  test("is not made where there is no server, or no disk of that name", async (t) => {
    const bed = new Bed(t);
    const open = (uri: string): Promise<NbdRelay> => NbdRelay.open(parseExportUri(uri));
    const enoent = (error: unknown): boolean => isPerdureError(error, "ENOENT");
    await assert.rejects(open(`nbd+unix:///disk?socket=${bed.serverPath}`), enoent);
    await bed.serve(new NbdMemoryDevice(MiB));
    await assert.rejects(open(`nbd+unix:///none?socket=${bed.serverPath}`), enoent);
    for (const uri of ["/a/path", "nbds://host/x", "http://host/x", "nbd+unix:///x", "nbd:///x", "nbd://h/%ff"]) {
      assert.throws(
        () => parseExportUri(uri),
        (error) => isPerdureError(error, "EINVAL"),
        uri,
      );
    }
    const tcp = { address: { kind: "tcp", host: "::1", port: 10809 }, name: "a b/c" };
    assert.deepEqual(parseExportUri("nbd://[::1]/a%20b/c"), tcp);
  });
});

/** Carries bytes between a client and a server until the server has sent as many as it may. */
function cutAfter(socket: Socket, serverPath: string, allowance: () => number): void {
  void NbdRawClient.connect(serverPath).then(({ socket: server }) => {
    // A connection that only opens the export is let through.
    const handshakeBytes = 400;
    let leftBytes = handshakeBytes + allowance();
    server.removeAllListeners("data");
    socket.on("error", () => {});
    socket.on("data", (chunk) => server.write(chunk));
    server.on("data", (chunk: Buffer) => {
      socket.write(chunk.subarray(0, leftBytes));
      leftBytes -= Math.min(leftBytes, chunk.length);
      if (leftBytes === 0) socket.end(() => server.destroy());
    });
    socket.on("close", () => server.destroy());
    server.on("close", () => socket.end());
  });
}
