// A running NBD server with one writable disk on a Unix socket, and its removal when the test is over.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { NbdServer, type NbdServerOptions } from "../../src/nbd/index.ts";
import { NbdMemoryDevice } from "./nbd-memory-device.ts";
import { KeptClients, NbdRawClient, requestFrame } from "./nbd-raw-client.ts";

export interface NbdFixture {
  readonly server: NbdServer;
  /** Served as "disk". */
  readonly disk: NbdMemoryDevice;
  readonly path: string;
  readonly folder: string;
  /** The URI of "disk". */
  readonly uri: string;
  /** Opens an export with the raw client, which is gone when the test is over. */
  open(name?: string, wishes?: { structured?: boolean; extended?: boolean; context?: boolean }): Promise<NbdRawClient>;
  /** Connects and greets with the raw client, which is gone when the test is over. */
  greet(flags?: number): Promise<NbdRawClient>;
}

/** Starts a server for one test. */
export async function startNbd(
  t: TestContext,
  options: NbdServerOptions & { sizeBytes?: number; disk?: NbdMemoryDevice } = {},
): Promise<NbdFixture> {
  const { sizeBytes = 2 ** 20, disk = new NbdMemoryDevice(sizeBytes), ...serverOptions } = options;
  const folder = mkdtempSync(join(tmpdir(), "perdure-nbd-"));
  const path = join(folder, "nbd.sock");
  const server = new NbdServer({ drainTimeoutMs: 500, ...serverOptions });
  const clients = new KeptClients();
  t.after(async () => {
    clients.vanish();
    await server.close();
    rmSync(folder, { recursive: true, force: true });
  });
  server.addExport(disk);
  await server.listenUnix(path);
  return {
    server,
    disk,
    path,
    folder,
    uri: server.uri(disk.name),
    open: (name, wishes) => clients.keep(NbdRawClient.open(path, name, wishes)),
    greet: (flags) => clients.keep(NbdRawClient.greet(path, flags)),
  };
}

/** Waits until something holds; fails after five seconds. */
export async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = Date.now() + 5_000;
  while (!holds()) {
    if (Date.now() > deadline) throw new Error(`waited in vain: ${what}`);
    await sleep(2);
  }
}

/** Fails unless another client can open the disk, write and read back. */
export async function assertServes(nbd: {
  readonly open: NbdFixture["open"];
  readonly disk: { readonly name: string };
}): Promise<void> {
  const client = await nbd.open(nbd.disk.name);
  const payload = Buffer.from("still here");
  client.send(requestFrame({ type: 1, offset: 0, payload }), requestFrame({ type: 0, length: payload.length }));
  assert.equal((await client.simpleReply()).error, 0);
  assert.deepEqual((await client.simpleReply(payload.length)).data, payload);
  client.vanish();
}
