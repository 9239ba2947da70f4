// A real disk in a region on a tmpfs, served over a Unix socket by threads or by the event loop, for one test.

import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { type Disk, Region } from "../../src/index.ts";
import { NbdServer, type NbdServerOptions } from "../../src/nbd/index.ts";
import type { NbdFixture } from "./nbd-fixture.ts";
import { KeptClients, NbdRawClient } from "./nbd-raw-client.ts";

/** What a test wants to be served. */
export interface ServedDiskOptions extends NbdServerOptions {
  readonly regionBytes?: number;
  readonly pageBytes?: number;
  readonly diskBytes?: number;
  readonly checksums?: boolean;
}

export interface ServedDisk extends Omit<NbdFixture, "disk" | "uri"> {
  readonly region: Region;
  /** Served as "disk". */
  readonly disk: Disk;
}

/** Makes a region with one disk and serves it. */
export async function serveDisk(t: TestContext, options: ServedDiskOptions = {}): Promise<ServedDisk> {
  const { regionBytes = 2 ** 24, pageBytes = 4096, diskBytes = 2 ** 22, checksums = false, ...serverOptions } = options;
  const folder = mkdtempSync(join("/dev/shm", "perdure-nbd-"));
  const path = join(folder, "nbd.sock");
  const server = new NbdServer({ drainTimeoutMs: 500, ...serverOptions });
  const clients = new KeptClients();
  let region: Region | undefined;
  t.after(async () => {
    clients.vanish();
    await server.close();
    await region?.close();
    rmSync(folder, { recursive: true, force: true });
  });
  region = await Region.open(join(folder, "region"), {
    create: true,
    size: regionBytes,
    pageSize: pageBytes,
    checksums,
  });
  const disk = region.disks.open("disk", { create: true, size: diskBytes });
  server.addExport(disk);
  await server.listenUnix(path);
  return {
    server,
    region,
    disk,
    path,
    folder,
    open: (name, wishes) => clients.keep(NbdRawClient.open(path, name, wishes)),
    greet: (flags) => clients.keep(NbdRawClient.greet(path, flags)),
  };
}

/** How a client talks that knows beforehand all that it will say. */
export interface Pace {
  /** It waits for a turn of the event loop between two pieces. */
  readonly slowWriter?: boolean;
  /** It reads so many bytes at a time, with a turn of the event loop between. */
  readonly readBytes?: number;
}

/** Says all pieces and sends no more. @returns what came until the server hung up */
export async function talk(path: string, pieces: readonly Buffer[], pace: Pace = {}): Promise<Buffer> {
  const socket = connect({ path, allowHalfOpen: true });
  const received: Buffer[] = [];
  const ended = readAll(socket, received, pace.readBytes);
  for (const piece of pieces) {
    socket.write(piece);
    if (pace.slowWriter === true) await turn();
  }
  socket.end();
  await ended;
  socket.destroy();
  return Buffer.concat(received);
}

function readAll(socket: NbdRawClient["socket"], received: Buffer[], readBytes: number | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once("error", reject);
    socket.once("end", resolve);
    if (readBytes === undefined) {
      socket.on("data", (chunk: Buffer) => received.push(chunk));
      return;
    }
    const readSome = async (): Promise<void> => {
      for (;;) {
        const piece = socket.read(readBytes) as Buffer | null;
        if (piece === null) return;
        received.push(piece);
        await turn();
      }
    };
    let reading: Promise<void> | undefined;
    socket.on("readable", () => {
      reading = (reading ?? Promise.resolve()).then(readSome).catch(reject);
    });
  });
}
