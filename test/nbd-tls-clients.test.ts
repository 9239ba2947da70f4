// Hazard: encryption that only our own tests understand. Here libnbd and qemu encrypt, as their users set it up.

import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { TlsOptions } from "../src/nbd/index.ts";
import { type Certificates, makeCertificates } from "./support/nbd-certificates.ts";
import { type NbdFixture, startNbd, until } from "./support/nbd-fixture.ts";
import { NbdMemoryDevice } from "./support/nbd-memory-device.ts";
import { run, start, succeed } from "./support/nbd-programs.ts";
import { requireTool } from "./support/tools.ts";

const MiB = 2 ** 20;

interface TlsBed extends NbdFixture {
  readonly certificates: Certificates;
  readonly port: number;
  readonly warnings: string[];
}

async function startTls(
  t: TestContext,
  optionsIn: (folder: string, certificates: Certificates) => TlsOptions,
): Promise<TlsBed> {
  const { folder } = await startNbd(t);
  const certificates = makeCertificates(folder);
  const warnings: string[] = [];
  const warn = (_fields: object, message: string): number => warnings.push(message);
  const nbd = await startNbd(t, {
    sizeBytes: 8 * MiB,
    tls: optionsIn(folder, certificates),
    log: { debug() {}, info() {}, warn, error: warn },
  });
  nbd.disk.write(0, Buffer.alloc(8 * MiB, "content"));
  return { ...nbd, folder, certificates, port: await nbd.server.listenTcp("127.0.0.1", 0), warnings };
}

/** Copies the disk to another one through `uris`, and compares. */
async function copies(nbd: TlsBed, uriOf: (name: string) => string): Promise<void> {
  const copy = new NbdMemoryDevice(8 * MiB, { name: "copy" });
  nbd.server.addExport(copy);
  await succeed("nbdcopy", "--flush", uriOf("disk"), uriOf("copy"));
  const content = Buffer.alloc(8 * MiB);
  copy.read(0, content);
  assert.ok(content.equals(Buffer.alloc(8 * MiB, "content")));
}

test("nbdinfo and nbdcopy with certificates, over a Unix socket and TCP", async (t) => {
  if (!requireTool(t, "openssl", "nbdinfo", "nbdcopy")) return;
  const nbd = await startTls(t, (_, { server }) => ({ certificates: server, verifyPeer: true }));
  const as = (folder: string, name = "disk"): string => `${nbd.server.uri(name)}&tls-certificates=${folder}`;
  const { client, foreigner, nobody } = nbd.certificates;
  const told = await succeed("nbdinfo", as(client));
  assert.match(told, /with TLS/);
  const tcp = `nbds://localhost:${nbd.port}/disk?tls-certificates=${client}`;
  assert.equal((await succeed("nbdinfo", "--size", tcp)).trim(), String(8 * MiB));
  await copies(nbd, (name) => as(client, name));
  for (const bad of [foreigner, nobody]) assert.equal((await run("nbdinfo", "--size", as(bad))).code, 1);
  await until("both are logged", () => nbd.warnings.length === 2);
  assert.match(nbd.warnings[1], /did not return a certificate; give the client a certificate/);
  const plain = await run("nbdinfo", as(client).replace("nbds+unix", "nbd+unix"));
  assert.equal(plain.code, 1);
});

test("a client that does not trust the server says so, and the log what to do", async (t) => {
  if (!requireTool(t, "openssl", "nbdinfo")) return;
  const nbd = await startTls(t, (_, { server }) => ({ certificates: server }));
  const uri = `nbds://localhost:${nbd.port}/disk?tls-certificates=${nbd.certificates.stranger}`;
  assert.equal((await run("nbdinfo", "--size", uri)).code, 1);
  await until("it is logged", () => nbd.warnings.length > 0);
  assert.match(nbd.warnings[0], /it may not trust this server|give the client the ca-cert\.pem/);
});

test("nbdinfo and nbdcopy with shared keys", async (t) => {
  if (!requireTool(t, "openssl", "nbdinfo", "nbdcopy")) return;
  const key = "5a".repeat(32);
  const nbd = await startTls(t, (folder) => {
    writeFileSync(join(folder, "keys.psk"), `alice:${key}\n`);
    writeFileSync(join(folder, "wrong.psk"), `alice:${key.replace("5a", "5b")}\nbob:${key}\n`);
    return { pskFile: join(folder, "keys.psk") };
  });
  const as = (user: string, file: string, name = "disk"): string =>
    `${nbd.server.uri(name).replace("///", `//${user}@/`)}&tls-psk-file=${join(nbd.folder, file)}`;
  await copies(nbd, (name) => as("alice", "keys.psk", name));
  for (const user of ["alice", "bob"]) assert.equal((await run("nbdinfo", "--size", as(user, "wrong.psk"))).code, 1);
  await until("both are logged", () => nbd.warnings.length === 2);
  assert.match(nbd.warnings[0], /give the client a user and the key/);
});

test("qemu-img with certificates and with shared keys, TLS 1.3 and 1.2", async (t) => {
  if (!requireTool(t, "openssl", "qemu-img")) return;
  const opens = async (port: number, credentials: string): Promise<void> => {
    for (const priority of ["", ",priority=NORMAL:-VERS-TLS1.3:+ECDHE-PSK"]) {
      const options = `driver=nbd,host=localhost,port=${port},export=disk,tls-creds=creds`;
      const object = `${credentials},id=creds,endpoint=client${priority}`;
      assert.match(await succeed("qemu-img", "info", "--object", object, "--image-opts", options), /8 MiB/);
    }
  };
  const verified = await startTls(t, (_, { server }) => ({ certificates: server, verifyPeer: true }));
  await opens(verified.port, `tls-creds-x509,dir=${verified.certificates.client}`);
  const shared = await startTls(t, (folder) => {
    mkdirSync(join(folder, "psk"));
    writeFileSync(join(folder, "psk", "keys.psk"), `alice:${"5a".repeat(32)}\n`);
    return { pskFile: join(folder, "psk", "keys.psk") };
  });
  await opens(shared.port, `tls-creds-psk,username=alice,dir=${join(shared.folder, "psk")}`);
});

test("TLS from the first byte, as openssl s_client speaks it, is no NBD and is hung up on", async (t) => {
  if (!requireTool(t, "openssl")) return;
  const nbd = await startTls(t, (_, { server }) => ({ certificates: server }));
  const { code } = await run("openssl", "s_client", "-connect", `127.0.0.1:${nbd.port}`);
  assert.notEqual(code, 0);
  await until("it is gone", () => nbd.server.connections.length === 0);
});

test("twenty clients that are killed in the middle of an encrypted copy leave the others alone", async (t) => {
  if (!requireTool(t, "openssl", "nbdcopy", "nbdinfo")) return;
  const nbd = await startTls(t, (_, { server }) => ({ certificates: server }));
  const uri = `${nbd.uri}&tls-certificates=${nbd.certificates.nobody}`;
  for (let k = 0; k < 20; k++) {
    const before = nbd.disk.calls.read;
    const copy = start(t, "nbdcopy", uri, "null:");
    await until("it reads", () => nbd.disk.calls.read > before);
    copy.kill("SIGKILL");
  }
  await until("all are gone", () => nbd.server.connections.length === 0);
  assert.equal((await succeed("nbdinfo", "--size", uri)).trim(), String(8 * MiB));
});
