// Hazard: a server that starts with certificates or keys that are not what its owner thinks, and lets in nobody, or
// everybody.

import assert from "node:assert/strict";
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { NbdServer, type TlsOptions } from "../src/nbd/index.ts";
import { makeCertificates } from "./support/nbd-certificates.ts";
import { requireTool } from "./support/tools.ts";

function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "perdure-tls-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function refused(tls: TlsOptions, code: string, message: RegExp): void {
  assert.throws(() => new NbdServer({ tls }), { name: "PerdureError", code, message }, JSON.stringify(tls));
}

test("TLS wants certificates or keys, one of them; off wants nothing", () => {
  for (const mode of ["on", "require", undefined] as const) {
    const chosen = mode === undefined ? {} : { mode };
    refused({ ...chosen }, "EINVAL", /certificates or shared keys/);
    refused({ ...chosen, certificates: "/x", pskFile: "/y" }, "EINVAL", /certificates or shared keys/);
    refused({ ...chosen, pskFile: "/y", verifyPeer: true }, "EINVAL", /no certificates to verify/);
  }
  assert.ok(new NbdServer({ tls: { mode: "off", certificates: "/nowhere" } }));
});

test("a mode that does not exist is not taken for one that lets in everybody", () => {
  refused({ mode: "required" as "require", certificates: "/x" }, "EINVAL", /"required" is no mode/);
});

test("a missing file is named, a CA only when clients are verified", (t) => {
  if (!requireTool(t, "openssl")) return;
  const { server } = makeCertificates(temporaryFolder(t));
  assert.ok(new NbdServer({ tls: { certificates: server, verifyPeer: true } }));
  rmSync(join(server, "ca-cert.pem"));
  refused({ certificates: server, verifyPeer: true }, "ENOENT", /ca-cert\.pem/);
  assert.ok(new NbdServer({ tls: { certificates: server } }));
  rmSync(join(server, "server-key.pem"));
  refused({ certificates: server }, "ENOENT", /server-key\.pem/);
  refused({ certificates: join(server, "none") }, "ENOENT", /server-cert\.pem/);
  refused({ pskFile: join(server, "none") }, "ENOENT", /none/);
  refused({ pskFile: server }, "EINVAL", /EISDIR/);
});

test("files that are no certificates, and a key that does not belong to the certificate, are refused", (t) => {
  if (!requireTool(t, "openssl")) return;
  const { server, client } = makeCertificates(temporaryFolder(t));
  const key = join(server, "server-key.pem");
  copyFileSync(join(client, "client-key.pem"), key);
  refused({ certificates: server }, "EINVAL", /of no use/);
  writeFileSync(key, "-----BEGIN PRIVATE KEY-----\n");
  refused({ certificates: server }, "EINVAL", /of no use/);
  for (const name of ["ca-cert.pem", "ca-crl.pem"]) {
    const { server: other } = makeCertificates(temporaryFolder(t));
    writeFileSync(join(other, name), "no certificate");
    refused({ certificates: other, verifyPeer: true }, "EINVAL", /of no use/);
  }
});

test("a file of keys has lines USER:HEXKEY, of keys that cannot be guessed, each user once", (t) => {
  const file = join(temporaryFolder(t), "keys.psk");
  const key = "0a".repeat(32);
  writeFileSync(file, `alice:${key}\n\nbob of Rome:${key.toUpperCase()}\r\n`);
  assert.ok(new NbdServer({ tls: { pskFile: file } }));
  for (const [content, message] of [
    ["", /no keys/],
    [`alice:${key}\nbob\n`, /line 2/],
    [`alice:${key}x\n`, /line 1/],
    [`:${key}\n`, /line 1/],
    [`alice:${"0a".repeat(15)}\n`, /line 1/],
    [`#616c:${key}\n`, /line 1/],
    [`alice:${key}\nalice:${key}\n`, /line 2 .* "alice" once more/],
  ] as const) {
    writeFileSync(file, content);
    refused({ pskFile: file }, "EINVAL", message);
  }
});
