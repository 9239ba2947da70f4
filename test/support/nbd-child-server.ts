// A server as a program of its own: serves the disk of a region by two threads, until it ends as it is told to.

import { writeSync } from "node:fs";
import { Region } from "../../src/index.ts";
import { NbdServer } from "../../src/nbd/index.ts";

const [path, socket] = process.argv.slice(2);
const region = await Region.open(path, { create: true, size: "32M" });
const server = new NbdServer({ threads: 2, drainTimeoutMs: 500 });
server.addExport(region.disks.open("disk", { create: true, size: "16M" }));
await server.listenUnix(socket);

process.stdin.on("data", (order: Buffer) => {
  switch (order.toString().trim()) {
    case "exit":
      process.exit(3);
      break;
    case "throw":
      throw new Error("a program that fails, as a test wants it");
    case "reject":
      void Promise.reject(new Error("a promise that fails, as a test wants it"));
      break;
    default:
      void server.close().then(() => process.stdin.destroy());
  }
});
writeSync(1, "ready\n");
