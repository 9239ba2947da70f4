import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { formatSize } from "../src/base/index.ts";
import { type Run, runFio } from "./fio.ts";
import { type Peer, startPerdure } from "./nbd-peers.ts";
import type { Scale } from "./scale.ts";
import { summarize } from "./statistics.ts";
import { figure, type Report } from "./table.ts";

const KIB = 1024;
const MIB = 2 ** 20;
const BUSY = 16;

/** What a client sends to open the export whose name is empty, and then nothing: flags, GO without information. */
const OPENING = Buffer.from("0000000349484156454f50540000000700000006000000000000", "hex");
/** How long the server may take to answer an opening. */
const PATIENCE_MS = 10_000;

/** Measures what a crowd of idle clients costs those that work, and the server. */
export async function benchNbdCrowd(scale: Scale, folder: string): Promise<Report> {
  const { diskBytes, crowd, nbdRepeats } = scale;
  await using server = await startPerdure(folder, "crowd", diskBytes, { maxConnections: crowd + BUSY });
  await runFio(server.socketPath, diskBytes, { rw: "write", blockBytes: 256 * KIB, depth: 4 }, "one pass");
  const rows: string[][] = [];
  const idle: Socket[] = [];
  try {
    for (const count of [0, crowd - BUSY]) {
      while (idle.length < count) idle.push(await openIdle(server.socketPath));
      const runs: Run[] = [];
      for (let repeat = 0; repeat < nbdRepeats; repeat++) {
        const workload = { rw: "randread", blockBytes: 4 * KIB, depth: 1, connections: BUSY } as const;
        runs.push(await runFio(server.socketPath, diskBytes, workload, scale));
      }
      const median = (values: number[]): string => figure(summarize(values).median);
      rows.push([
        `${count}`,
        `${median(runs.map(({ rate }) => rate / 1000))}k`,
        ...[50, 99, 99.9].map((percent) => median(runs.map(({ latencyUs }) => latencyUs(percent)))),
        `${figure(residentBytes(server) / MIB)} MiB`,
      ]);
    }
  } finally {
    for (const socket of idle) socket.destroy();
  }
  return {
    title: "NBD with a crowd of idle clients",
    head: ["idle clients", "requests/s", "p50 us", "p99 us", "p99.9 us", "memory"],
    rows,
    notes: [
      `Medians of ${nbdRepeats} runs of ${scale.runtimeMs} ms: fio, ${BUSY} connections, 4 KiB random reads, depth 1.`,
      `Memory is what of the server is resident, apart from the disk of ${formatSize(diskBytes)}.`,
    ],
  };
}

function openIdle(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path, () => socket.write(OPENING));
    socket.setTimeout(PATIENCE_MS, () => reject(new Error("the server does not answer")));
    socket.once("error", reject);
    // The hello comes first, the answer to GO after it.
    let bytes = 0;
    socket.on("data", (chunk) => {
      bytes += chunk.length;
      if (bytes <= 18) return;
      socket.setTimeout(0);
      resolve(socket);
    });
  });
}

/** Memory of a process without what it shares: the pages of the region are shared memory. */
function residentBytes({ pid }: Peer): number {
  const [, kibibytes] = /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "latin1")) ?? [];
  return Number(kibibytes) * KIB;
}
