// Hazard: encryption that somebody on the way can talk a client out of, that lets in who has the wrong certificate, or
// that carries into the encrypted part what was said before it. Clients that stall or die in a handshake harm nobody.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Duplex } from "node:stream";
import { describe, type TestContext, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import type { ConnectionOptions } from "node:tls";
import type { NbdServerOptions, TlsOptions } from "../src/nbd/index.ts";
import { type Certificates, makeCertificates, revoke } from "./support/nbd-certificates.ts";
import { assertServes, type NbdFixture, startNbd, until } from "./support/nbd-fixture.ts";
import { infoData, metaData, type NbdRawClient, optionFrame, requestFrame } from "./support/nbd-raw-client.ts";
import { requireTool } from "./support/tools.ts";

const OPT = { EXPORT_NAME: 1, ABORT: 2, LIST: 3, STARTTLS: 5, INFO: 6, GO: 7, STRUCTURED: 8, EXTENDED: 11 } as const;
const META = { LIST: 9, SET: 10 } as const;
const ACK = 1;
const ERR = { UNSUP: 2 ** 31 + 1, POLICY: 2 ** 31 + 2, INVALID: 2 ** 31 + 3, TLS_REQD: 2 ** 31 + 5 } as const;
const SHUTDOWN = 2 ** 31 + 7;
const MiB = 2 ** 20;

interface TlsFixture extends NbdFixture {
  readonly certificates: Certificates;
  /** What was logged as trouble. */
  readonly warnings: string[];
  /** The client's side of TLS. */
  as(who: "client" | "foreigner" | "nobody", version?: "TLSv1.2" | "TLSv1.3"): ConnectionOptions;
}

async function startTls(t: TestContext, tls: TlsOptions = {}, options: NbdServerOptions = {}): Promise<TlsFixture> {
  const { folder } = await startNbd(t);
  const certificates = makeCertificates(folder);
  const warnings: string[] = [];
  const warn = (_fields: object, message: string): number => warnings.push(message);
  const log = { debug() {}, info() {}, warn, error: warn };
  const source = tls.pskFile === undefined ? { certificates: certificates.server } : {};
  const nbd = await startNbd(t, { log, sizeBytes: 16 * MiB, ...options, tls: { ...source, ...tls } });
  return {
    ...nbd,
    certificates,
    warnings,
    as(who, version) {
      const pem = (name: string): Buffer => readFileSync(join(certificates[who], name));
      const own = who === "nobody" ? {} : { cert: pem("client-cert.pem"), key: pem("client-key.pem") };
      const versions = version === undefined ? {} : { minVersion: version, maxVersion: version };
      return { ca: pem("ca-cert.pem"), host: "localhost", ...own, ...versions };
    },
  };
}

async function opens(client: NbdRawClient): Promise<void> {
  assert.equal((await client.ask(OPT.GO, infoData("disk"))).at(-1)?.type, ACK);
}

/** Writes and reads back more than a socket holds. */
async function carries(client: NbdRawClient): Promise<void> {
  await opens(client);
  const payload = Buffer.alloc(5 * MiB, "perdure");
  assert.equal(await client.errorOf({ type: 1, offset: 12_345, payload }), 0);
  client.send(requestFrame({ type: 0, offset: 12_345, length: payload.length }));
  const { data } = await client.simpleReply(payload.length);
  assert.ok(data.equals(payload));
}

describe("the option STARTTLS", () => {
  test("is refused as a matter of policy where there is no TLS", async (t) => {
    const { greet, uri } = await startNbd(t);
    const client = await greet();
    assert.equal((await client.ask(OPT.STARTTLS))[0].type, ERR.POLICY);
    await opens(client);
    assert.match(uri, /^nbd\+unix:/);
  });

  test("takes no data and is not repeated; `on` leaves it to the client", async (t) => {
    if (!requireTool(t, "openssl")) return;
    const nbd = await startTls(t, { mode: "on" });
    const client = await nbd.greet();
    assert.equal((await client.ask(OPT.STARTTLS, Buffer.from("x")))[0].type, ERR.INVALID);
    const secured = await client.startTls(nbd.as("nobody"));
    assert.equal((await secured.ask(OPT.STARTTLS))[0].type, ERR.INVALID);
    await carries(secured);
    secured.vanish();
    await assertServes(nbd);
    assert.match(nbd.uri, /^nbds\+unix:/, "a client that is told the URI encrypts");
  });

  test("what was agreed before it is forgotten", async (t) => {
    if (!requireTool(t, "openssl")) return;
    const nbd = await startTls(t, { mode: "on" });
    const client = await nbd.greet();
    for (const option of [OPT.STRUCTURED, OPT.EXTENDED]) assert.equal((await client.ask(option))[0].type, ACK);
    assert.equal((await client.ask(META.SET, metaData("disk", ["base:allocation"]))).length, 2);
    const secured = await client.startTls(nbd.as("nobody"));
    assert.equal((await secured.ask(META.SET, metaData("disk", [])))[0].type, ERR.INVALID, "no structured replies");
    await opens(secured);
    assert.equal(await secured.errorOf({ type: 7, length: 4096 }), 22, "compact headers");
    const open = await nbd.greet();
    await open.ask(OPT.STRUCTURED);
    await open.ask(META.SET, metaData("disk", ["base:allocation"]));
    const again = await open.startTls(nbd.as("nobody"));
    assert.equal((await again.ask(OPT.EXTENDED))[0].type, ACK, "to be agreed anew");
    await opens(again);
    assert.equal(await again.extendedErrorOf({ type: 7, length: 4096 }), 22, "no context");
  });

  test("with `require` nothing is told before it, and everything after it", async (t) => {
    if (!requireTool(t, "openssl")) return;
    const nbd = await startTls(t);
    const client = await nbd.greet();
    const { LIST, INFO, GO, STRUCTURED, EXTENDED } = OPT;
    for (const option of [LIST, INFO, GO, STRUCTURED, EXTENDED, META.LIST, META.SET, 0x7654321]) {
      assert.equal((await client.ask(option, infoData("disk")))[0].type, ERR.TLS_REQD, `option ${option}`);
    }
    const secured = await client.startTls(nbd.as("nobody"));
    assert.equal((await secured.ask(OPT.LIST)).length, 2);
    assert.equal((await secured.ask(0x7654321))[0].type, ERR.UNSUP);
    secured.send(optionFrame(OPT.EXPORT_NAME, Buffer.from("disk")));
    assert.equal((await secured.read(10)).readBigUInt64BE(0), BigInt(16 * MiB));
    const [named, aborting] = [await nbd.greet(), await nbd.greet()];
    named.send(optionFrame(OPT.EXPORT_NAME, Buffer.from("disk")));
    assert.equal((await named.rest()).length, 0);
    assert.equal((await aborting.ask(OPT.ABORT))[0].type, ACK);
  });

  test("while the server drains it is refused, and closing does not wait for a handshake", async (t) => {
    if (!requireTool(t, "openssl")) return;
    const nbd = await startTls(t, { mode: "on" }, { drainTimeoutMs: 60_000 });
    const [early, stalling] = [await nbd.greet(), await nbd.greet()];
    assert.equal((await stalling.ask(OPT.STARTTLS))[0].type, ACK);
    await nbd.server.drain();
    assert.equal((await early.ask(OPT.STARTTLS))[0].type, SHUTDOWN);
    early.vanish();
    await nbd.server.close();
    assert.equal((await stalling.rest()).length, 0);
    assert.deepEqual(nbd.warnings, [], "nobody failed");
  });
});

describe("certificates", () => {
  for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
    test(`${version}: who has a certificate of the CA is served; none, or one of another CA, is refused`, async (t) => {
      if (!requireTool(t, "openssl")) return;
      const nbd = await startTls(t, { verifyPeer: true });
      const good = await (await nbd.greet()).startTls(nbd.as("client", version));
      await carries(good);
      good.vanish();
      for (const who of ["foreigner", "nobody"] as const) {
        const before = nbd.warnings.length;
        await assert.rejects(async () => {
          const bad = await (await nbd.greet()).startTls(nbd.as(who, version));
          await bad.ask(OPT.GO, infoData("disk"));
        }, who);
        await until("the refusal is logged", () => nbd.warnings.length > before);
        assert.match(nbd.warnings[before], /TLS handshake: .*; give the client a certificate that the CA .* signed/);
      }
      await until("nobody is left", () => nbd.server.connections.length === 0);
    });
  }

  test("a certificate that the CA took back is refused", async (t) => {
    if (!requireTool(t, "openssl")) return;
    const folder = (await startNbd(t)).folder;
    const { server } = makeCertificates(folder);
    revoke(folder, "client");
    const nbd = await startTls(t, { certificates: server, verifyPeer: true });
    const revoked = { ...nbd.as("client"), ...readPair(folder, "client"), rejectUnauthorized: false };
    await assert.rejects(async () => {
      await (await (await nbd.greet()).startTls(revoked)).ask(OPT.LIST);
    });
    await until("the refusal is logged", () => nbd.warnings.length > 0);
    assert.match(nbd.warnings[0], /CERT_REVOKED/);
  });
});

function readPair(folder: string, name: string): ConnectionOptions {
  return { cert: readFileSync(join(folder, `${name}-cert.pem`)), key: readFileSync(join(folder, `${name}-key.pem`)) };
}

describe("shared keys", () => {
  const key = Buffer.alloc(32, 0xa5);
  const shared = (identity: string, psk: Buffer, version: "TLSv1.2" | "TLSv1.3"): ConnectionOptions => ({
    pskCallback: () => ({ identity, psk }),
    ciphers: "TLS_AES_128_GCM_SHA256:PSK",
    checkServerIdentity: () => undefined,
    minVersion: version,
    maxVersion: version,
  });

  for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
    test(`${version}: who has the key is served; another key or user, and a certificate, are refused`, async (t) => {
      if (!requireTool(t, "openssl")) return;
      const pskFile = join((await startNbd(t)).folder, "keys.psk");
      writeFileSync(pskFile, `bob:${"00".repeat(32)}\nalice:${key.toString("hex")}\n`);
      const nbd = await startTls(t, { pskFile });
      const good = await (await nbd.greet()).startTls(shared("alice", key, version));
      await carries(good);
      good.vanish();
      const withCertificate = nbd.as("client", version);
      for (const bad of [shared("bob", key, version), shared("mallory", key, version), withCertificate]) {
        const before = nbd.warnings.length;
        const client = await nbd.greet();
        await assert.rejects(client.startTls(bad));
        await until("the refusal is logged", () => nbd.warnings.length > before);
        assert.match(nbd.warnings[before], /TLS handshake: .*; (?:give the client a user|server and client have no)/);
      }
      await until("nobody is left", () => nbd.server.connections.length === 0);
    });
  }
});

/** Lets bytes through to a socket one by one. */
function byteByByte(socket: NbdRawClient["socket"]): Duplex {
  const through = new Duplex({
    read: () => socket.resume(),
    write(chunk: Buffer, _encoding, done) {
      void (async () => {
        for (const byte of chunk) {
          socket.write(Buffer.of(byte));
          await turn();
        }
        done();
      })();
    },
  });
  socket.on("data", (chunk: Buffer) => through.push(chunk));
  socket.on("close", () => through.destroy());
  return through;
}

describe("hostile handshakes", () => {
  test("a handshake and a conversation that come byte by byte are as good as any", async (t) => {
    if (!requireTool(t, "openssl")) return;
    const nbd = await startTls(t, { verifyPeer: true });
    const client = await nbd.greet();
    const secured = await client.startTls(nbd.as("client"), byteByByte);
    await opens(secured);
    assert.equal(await secured.errorOf({ type: 1, payload: Buffer.alloc(100, 1) }), 0);
    client.vanish();
  });

  test("bytes behind STARTTLS end the connection, unanswered: somebody on the way put them there", async (t) => {
    if (!requireTool(t, "openssl")) return;
    const nbd = await startTls(t, { mode: "on" });
    const injected = [optionFrame(OPT.GO, infoData("disk")), requestFrame({ type: 1, payload: Buffer.alloc(512, 1) })];
    for (const behind of [Buffer.of(0x16), Buffer.concat(injected)]) {
      const client = await nbd.greet();
      client.send(Buffer.concat([optionFrame(OPT.STARTTLS), behind]));
      assert.equal((await client.rest()).length, 0, "not even the ACK");
    }
    const late = await nbd.greet();
    assert.equal((await late.ask(OPT.STARTTLS))[0].type, ACK);
    late.send(...injected);
    const answer = await late.rest();
    assert.ok(!answer.includes("IHAVEOPT") && answer.length < 100, "an alert of TLS at most");
    assert.equal(nbd.disk.calls.write, 0);
    await assertServes(nbd);
  });

  test("garbage, half a handshake, sudden ends and silence harm nobody", async (t) => {
    if (!requireTool(t, "openssl")) return;
    const nbd = await startTls(t, { mode: "on" }, { handshakeTimeoutMs: 400 });
    // A record of 16 KiB is announced, and does not come.
    const halfRecord = Buffer.concat([Buffer.from([0x16, 3, 1, 0x40, 0]), Buffer.alloc(100)]);
    const attacks = [Buffer.alloc(0), Buffer.from("GET / HTTP/1.1\r\n\r\n"), halfRecord, Buffer.alloc(70_000, 0xff)];
    const stalled: NbdRawClient[] = [];
    for (const attack of attacks) {
      for (const leave of ["vanish", "end", "stay"] as const) {
        const client = await nbd.greet();
        assert.equal((await client.ask(OPT.STARTTLS))[0].type, ACK);
        client.send(attack);
        if (leave === "vanish") client.vanish();
        else if (leave === "end") client.socket.end();
        else stalled.push(client);
      }
      const hasty = await nbd.greet();
      hasty.send(optionFrame(OPT.STARTTLS));
      hasty.vanish();
    }
    await assertServes(nbd);
    for (const client of stalled) await client.closed;
    await until("all of them are gone", () => nbd.server.connections.length === 0);
    const good = await (await nbd.greet()).startTls(nbd.as("nobody"));
    await opens(good);
    assert.ok(nbd.warnings.some((warning) => /did not finish its handshake in time/.test(warning)));
    assert.ok(nbd.warnings.some((warning) => /that was no TLS/.test(warning)));
  });

  test("who hangs up in the handshake is gone long before its time is over; who idles behind it is cut", async (t) => {
    if (!requireTool(t, "openssl")) return;
    const nbd = await startTls(t, {}, { handshakeTimeoutMs: 60_000, idleTimeoutMs: 200 });
    for (const attack of [Buffer.alloc(0), Buffer.from([0x16, 3, 1, 0x40, 0, 1])]) {
      const client = await nbd.greet();
      assert.equal((await client.ask(OPT.STARTTLS))[0].type, ACK);
      client.socket.end(attack);
      await until("it is gone", () => nbd.server.connections.length === 0);
    }
    const secured = await (await nbd.greet()).startTls(nbd.as("nobody"));
    assert.equal((await secured.rest()).length, 0);
  });

  test("a client that dies in the middle of an encrypted payload leaves the others alone", async (t) => {
    if (!requireTool(t, "openssl")) return;
    const nbd = await startTls(t, { mode: "on" });
    const secured = await (await nbd.greet()).startTls(nbd.as("nobody"));
    await opens(secured);
    secured.send(requestFrame({ type: 1, length: 4 * MiB }), Buffer.alloc(2.5 * MiB, 1));
    await until("whole slices are stored", () => nbd.disk.calls.write >= 2);
    secured.vanish();
    await until("the client is gone", () => nbd.server.connections.length === 0);
    await assertServes(nbd);
  });

  test("a client that closed its sending side still gets its answers", async (t) => {
    if (!requireTool(t, "openssl")) return;
    const nbd = await startTls(t, { mode: "on" });
    const secured = await (await nbd.greet()).startTls(nbd.as("nobody"));
    await opens(secured);
    for (let k = 0; k < 8; k++) secured.send(requestFrame({ type: 0, length: MiB, cookie: k }));
    secured.socket.end();
    for (let k = 0; k < 8; k++) assert.equal((await secured.simpleReply(MiB)).cookie, k);
    assert.equal((await secured.rest()).length, 0);
  });

  test("a slow reader is not read further, and gets all of its replies", async (t) => {
    if (!requireTool(t, "openssl")) return;
    const nbd = await startTls(t, { mode: "on" });
    const secured = await (await nbd.greet()).startTls(nbd.as("nobody"));
    await opens(secured);
    secured.socket.pause();
    for (let k = 0; k < 40; k++) secured.send(requestFrame({ type: 0, length: MiB, cookie: k }));
    await until("the server stops to read the disk", () => nbd.disk.calls.read >= 4);
    for (let k = 0; k < 20; k++) await turn();
    assert.ok(nbd.disk.calls.read < 30, `${nbd.disk.calls.read} reads for a client that reads nothing`);
    secured.socket.resume();
    for (let k = 0; k < 40; k++) assert.equal((await secured.simpleReply(MiB)).cookie, k);
  });
});
