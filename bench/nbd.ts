import { formatSize } from "../src/base/index.ts";
import { runFio, type Workload } from "./fio.ts";
import { type Peer, startNbdkit, startPerdure, startQemuNbd } from "./nbd-peers.ts";
import type { Scale } from "./scale.ts";
import { ratios, summarize } from "./statistics.ts";
import { figure, type Report } from "./table.ts";

const KIB = 1024;
const MIB = 2 ** 20;
const random = (rw: "randread" | "randwrite"): Workload[] =>
  [1, 16, 64].map((depth) => ({ rw, blockBytes: 4 * KIB, depth }));
const workloads: readonly Workload[] = [
  ...random("randread"),
  ...random("randwrite"),
  { rw: "read", blockBytes: 256 * KIB, depth: 16 },
  { rw: "write", blockBytes: 256 * KIB, depth: 16 },
];

/** Measures the NBD server beside nbdkit's memory plug-in and qemu-nbd on a file, all in memory, by fio. */
export async function benchNbd(scale: Scale, folder: string): Promise<Report> {
  const { diskBytes, nbdRepeats } = scale;
  await using perdure = await startPerdure(folder, diskBytes);
  await using nbdkit = await startNbdkit(folder, diskBytes);
  await using qemu = await startQemuNbd(folder, diskBytes);
  const peers = [perdure, nbdkit, qemu];
  for (const peer of peers) await age(peer, diskBytes);
  const rows: string[][] = [];
  for (const workload of workloads) rows.push(rowOf(workload, await measure(peers, workload, scale)));
  return {
    title: "NBD over a Unix socket",
    head: ["what", "depth", "perdure", "nbdkit memory", "qemu-nbd", "to nbdkit", "min–max", "to qemu-nbd", "min–max"],
    rows,
    notes: [
      `Medians of ${nbdRepeats} runs of ${scale.runtimeMs} ms, the servers in turn; fio's nbd engine, one connection.`,
      `Disks of ${formatSize(diskBytes)}, written once in order and once at random before. Ratios above 1 are ours.`,
      "qemu-nbd serves a file of the same tmpfs; both peers have their defaults. Client and server share the cores.",
    ],
  };
}

/** Every block exists, and none lies where it was first written. */
async function age({ socketPath }: Peer, diskBytes: number): Promise<void> {
  await runFio(socketPath, diskBytes, { rw: "write", blockBytes: 256 * KIB, depth: 4 }, "one pass");
  await runFio(socketPath, diskBytes, { rw: "randwrite", blockBytes: 4 * KIB, depth: 16 }, "one pass");
}

async function measure(peers: readonly Peer[], workload: Workload, scale: Scale): Promise<number[][]> {
  const results: number[][] = peers.map(() => []);
  for (let repeat = 0; repeat < scale.nbdRepeats; repeat++) {
    for (const [k, { socketPath }] of peers.entries()) {
      results[k].push(await runFio(socketPath, scale.diskBytes, workload, scale));
    }
  }
  return results;
}

function rowOf({ rw, blockBytes, depth }: Workload, [ours, nbdkit, qemu]: number[][]): string[] {
  const isLarge = blockBytes > 4 * KIB;
  const speed = (values: number[]): string => {
    const { median } = summarize(values);
    return isLarge ? `${figure((median * blockBytes) / MIB)} MiB/s` : `${figure(median / 1000)}k`;
  };
  const against = (theirs: number[]): string[] => {
    const { min, median, max } = ratios(ours, theirs);
    return [`${median.toFixed(2)}×`, `${min.toFixed(2)}–${max.toFixed(2)}`];
  };
  const what = `${formatSize(blockBytes)} ${rw}`;
  return [what, `${depth}`, speed(ours), speed(nbdkit), speed(qemu), ...against(nbdkit), ...against(qemu)];
}
