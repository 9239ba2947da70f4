// An NBD server with the disks "a" and "b" of a real region, which its threads can open; gone when the test is over.

import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { type Disk, Region } from "../../src/index.ts";
import { NbdServer, type NbdServerOptions } from "../../src/nbd/index.ts";
import { KeptClients, NbdRawClient } from "./nbd-raw-client.ts";

export interface NbdRegionServer {
  readonly server: NbdServer;
  /** Neither is served yet. */
  readonly disks: { readonly a: Disk; readonly b: Disk };
  readonly path: string;
  /** What was logged as a warning. */
  readonly warnings: string[];
  /** Opens an export with the raw client, which is gone when the test is over. */
  open(name: string): Promise<NbdRawClient>;
  /** Connects and greets with the raw client, which is gone when the test is over. */
  greet(): Promise<NbdRawClient>;
}

/** Starts a server for one test. With 0 threads the event loop serves. */
export async function startNbdOnRegion(
  t: TestContext,
  options: NbdServerOptions & { diskBytes?: number } = {},
): Promise<NbdRegionServer> {
  const { diskBytes = 2 ** 20, ...serverOptions } = options;
  const folder = mkdtempSync(join("/dev/shm", "perdure-nbd-"));
  const region = await Region.open(join(folder, "r"), { create: true, size: 3 * diskBytes + 4 * 2 ** 20 });
  const warnings: string[] = [];
  const ignore = (): void => {};
  const warn = (_: object, message: string): void => void warnings.push(message);
  const log = { debug: ignore, info: ignore, warn, error: warn };
  const server = new NbdServer({ drainTimeoutMs: 500, log, ...serverOptions });
  const clients = new KeptClients();
  t.after(async () => {
    clients.vanish();
    await server.close();
    await region.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const path = join(folder, "nbd.sock");
  await server.listenUnix(path);
  const disk = (name: string): Disk => region.disks.open(name, { create: true, size: diskBytes });
  return {
    server,
    disks: { a: disk("a"), b: disk("b") },
    path,
    warnings,
    open: (name) => clients.keep(NbdRawClient.open(path, name)),
    greet: () => clients.keep(NbdRawClient.greet(path)),
  };
}
