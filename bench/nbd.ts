import { readFileSync } from "node:fs";
import { formatSize } from "../src/base/index.ts";
import { type Run, runFio, type Workload } from "./fio.ts";
import { type Peer, startNbdkit, startPerdure, startQemuNbd } from "./nbd-peers.ts";
import type { Scale } from "./scale.ts";
import { geometricMean, lowerQuartile, ratios, summarize } from "./statistics.ts";
import { figure, type Report } from "./table.ts";

const KIB = 1024;
const MIB = 2 ** 20;
/** Ticks of /proc/PID/stat in a second: sysconf(_SC_CLK_TCK), the same on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;
/** One request at a time depends on who wakes whom when: more runs for a median. */
const REPEATS_AT_DEPTH_1 = 9;

const random = (rw: "randread" | "randwrite"): Workload[] =>
  [1, 16, 64].map((depth) => ({ rw, blockBytes: 4 * KIB, depth }));
/** Random writes come last: they age the disk that is young. */
const workloads: readonly Workload[] = [
  ...random("randread"),
  { rw: "randread", blockBytes: 4 * KIB, depth: 16, connections: 4 },
  { rw: "read", blockBytes: 256 * KIB, depth: 8 },
  { rw: "write", blockBytes: 256 * KIB, depth: 8 },
  ...random("randwrite"),
  { rw: "randwrite", blockBytes: 4 * KIB, depth: 16, connections: 4 },
];

/** One run of fio and what it cost the server. */
interface Cost extends Run {
  /** Requests that the server answered for each second of a processor. */
  readonly perCpuSecond: number;
}

/** Measures the NBD server beside nbdkit's memory plug-in and qemu-nbd on a file, all in memory, by fio. */
export async function benchNbd(scale: Scale, folder: string): Promise<Report> {
  const { diskBytes, nbdRepeats } = scale;
  await using young = await startPerdure(folder, "young", diskBytes);
  await using aged = await startPerdure(folder, "aged", diskBytes);
  await using nbdkit = await startNbdkit(folder, diskBytes);
  await using qemu = await startQemuNbd(folder, diskBytes);
  const peers = [young, aged, nbdkit, qemu];
  for (const peer of peers) await onePass(peer, diskBytes, { rw: "write", blockBytes: 256 * KIB, depth: 4 });
  await onePass(aged, diskBytes, { rw: "randwrite", blockBytes: 4 * KIB, depth: 16 });
  const rows: string[][] = [];
  const means: number[][] = [[], [], []];
  for (const workload of workloads) {
    const row = rowOf(workload, await measure(peers, workload, scale));
    rows.push(row.cells);
    for (const [k, ratio] of row.ratios.entries()) means[k].push(ratio);
  }
  const [youngMean, agedMean, cpuMean] = means.map((mean) => `${geometricMean(mean).toFixed(2)}×`);
  rows.push(["geometric mean", "", "", "", "", "", youngMean, "", agedMean, cpuMean]);
  return {
    title: "NBD over a Unix socket",
    head: [
      "what",
      "depth",
      "young",
      "aged",
      "nbdkit memory",
      "qemu-nbd",
      "young to nbdkit",
      "quartile",
      "aged to nbdkit",
      "per CPU second",
    ],
    rows,
    notes: [
      `Medians of ${nbdRepeats} runs (at depth 1: ${repeatsOf(1, scale)}) of ${scale.runtimeMs} ms, in turn;`,
      "fio's nbd engine. Ratios above 1 are ours.",
      `Disks of ${formatSize(diskBytes)}, written once in order, the aged one at random, too.`,
      "Below the quartile lies a quarter of the ratios of the young disk's runs.",
      "The last column compares requests for each second of processors that the server took, young to nbdkit.",
      "qemu-nbd serves a file of the same tmpfs; both peers have their defaults. All share the cores.",
    ],
  };
}

function onePass({ socketPath }: Peer, diskBytes: number, workload: Workload): Promise<Run> {
  return runFio(socketPath, diskBytes, workload, "one pass");
}

function repeatsOf(depth: number, { nbdRepeats }: Scale): number {
  return depth === 1 && nbdRepeats > 1 ? Math.max(REPEATS_AT_DEPTH_1, nbdRepeats) : nbdRepeats;
}

async function measure(peers: readonly Peer[], workload: Workload, scale: Scale): Promise<Cost[][]> {
  const results: Cost[][] = peers.map(() => []);
  for (let repeat = 0; repeat < repeatsOf(workload.depth, scale); repeat++) {
    for (const [k, { socketPath, pid }] of peers.entries()) {
      const before = processorSeconds(pid);
      const run = await runFio(socketPath, scale.diskBytes, workload, scale);
      // Fio's warming up is served, too, and not counted: the same share for all.
      results[k].push({ ...run, perCpuSecond: run.requests / (processorSeconds(pid) - before) });
    }
  }
  return results;
}

/** What a process has taken of processors, all its threads together. */
function processorSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  // Behind the name, which may hold anything, field 14 is user time and field 15 system time.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

function rowOf(workload: Workload, results: Cost[][]): { cells: string[]; ratios: number[] } {
  const { rw, blockBytes, depth, connections = 1 } = workload;
  const rates = results.map((runs) => runs.map(({ rate }) => rate));
  const [young, aged, nbdkit] = rates;
  const costs = results.map((runs) => runs.map(({ perCpuSecond }) => perCpuSecond));
  const speed = (values: number[]): string => {
    const { median } = summarize(values);
    return blockBytes > 4 * KIB ? `${figure((median * blockBytes) / MIB)} MiB/s` : `${figure(median / 1000)}k`;
  };
  const found = [ratios(young, nbdkit), ratios(aged, nbdkit), ratios(costs[0], costs[2])].map(({ median }) => median);
  const times = (ratio: number): string => `${ratio.toFixed(2)}×`;
  const quartile = lowerQuartile(young.map((rate, k) => rate / nbdkit[k]));
  const what = `${formatSize(blockBytes)} ${rw}${connections > 1 ? `, ${connections} connections` : ""}`;
  const [youngRatio, agedRatio, cpuRatio] = found.map(times);
  return {
    cells: [what, `${depth}`, ...rates.map(speed), youngRatio, times(quartile), agedRatio, cpuRatio],
    ratios: found,
  };
}
