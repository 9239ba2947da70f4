// Serves one disk of a fresh region until its standard input ends: Perdure's side of the comparison.

import { Region } from "../src/index.ts";
import { NbdServer } from "../src/nbd/index.ts";
import { childTask } from "./child.ts";

export interface ServeTask {
  readonly regionPath: string;
  readonly regionBytes: number;
  readonly diskBytes: number;
  readonly socketPath: string;
  /** With keys clients must encrypt. */
  readonly pskFile?: string;
  readonly maxConnections?: number;
}

const task = childTask() as ServeTask;
const region = await Region.open(task.regionPath, { create: true, size: task.regionBytes });
const { pskFile, maxConnections = 100 } = task;
const server = new NbdServer({ maxConnections, ...(pskFile === undefined ? {} : { tls: { pskFile } }) });
server.addExport(region.disks.open("disk", { create: true, size: task.diskBytes }));
await server.listenUnix(task.socketPath);
for await (const _ of process.stdin);
await server.close();
await region.close();
