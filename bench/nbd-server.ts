// Serves one disk of a fresh region until its standard input ends: Perdure's side of the comparison.

import { Region } from "../src/index.ts";
import { NbdServer } from "../src/nbd/index.ts";
import { childTask } from "./child.ts";

export interface ServeTask {
  readonly regionPath: string;
  readonly regionBytes: number;
  readonly diskBytes: number;
  readonly socketPath: string;
  readonly pskFile?: string | undefined;
}

const task = childTask() as ServeTask;
const region = await Region.open(task.regionPath, { create: true, size: task.regionBytes });
const server = new NbdServer(task.pskFile === undefined ? {} : { tls: { pskFile: task.pskFile } });
server.addExport(region.disks.open("disk", { create: true, size: task.diskBytes }));
await server.listenUnix(task.socketPath);
for await (const _ of process.stdin);
await server.close();
await region.close();
