import { execFile } from "node:child_process";
import { promisify } from "node:util";

/** One access pattern. */
export interface Workload {
  readonly rw: "randread" | "randwrite" | "read" | "write";
  readonly blockBytes: number;
  readonly depth: number;
  /** Connections at once, each with this depth; 1 by default. */
  readonly connections?: number;
}

/** What a run came to. */
export interface Run {
  /** Requests a second. */
  readonly rate: number;
  readonly requests: number;
  /** The latency below which so many percent of the requests were answered: 50, 99 or 99.9. */
  readonly latencyUs: (percent: number) => number;
}

/** What fio says of one side of a job. */
interface Side {
  readonly iops: number;
  readonly total_ios: number;
  /** Completion latencies by percentile, `"99.000000"`. */
  readonly clat_ns: { readonly percentile?: Readonly<Record<string, number>> };
}

interface FioOutput {
  readonly jobs: readonly [{ readonly error: number; readonly read: Side; readonly write: Side }];
}

/** How long a run takes: a time, or one pass over the disk. */
export type Duration = { readonly runtimeMs: number } | "one pass";

/** Fio runs this share of the time before it begins to count. */
const RAMP = 0.2;

/** Runs fio against an NBD server. */
export async function runFio(
  socketPath: string,
  diskBytes: number,
  { rw, blockBytes, depth, connections = 1 }: Workload,
  duration: Duration,
): Promise<Run> {
  const options = {
    name: rw,
    ioengine: "nbd",
    uri: `nbd+unix:///?socket=${socketPath}`,
    rw,
    bs: blockBytes,
    iodepth: depth,
    size: diskBytes,
    numjobs: connections,
    "output-format": "json",
  };
  const args = Object.entries(options).map(([name, value]) => `--${name}=${value}`);
  const all = [...args, "--group_reporting", ...timed(duration)];
  const { stdout } = await promisify(execFile)("fio", all, { maxBuffer: 2 ** 24 });
  // Notes may stand before the JSON.
  const { jobs } = JSON.parse(stdout.slice(stdout.indexOf("{"))) as FioOutput;
  const side = rw.endsWith("read") ? jobs[0].read : jobs[0].write;
  if (jobs[0].error !== 0 || side.iops === 0) throw new Error(`fio ${rw} on ${socketPath} failed`);
  const latencyUs = (percent: number): number => (side.clat_ns.percentile?.[percent.toFixed(6)] ?? Number.NaN) / 1000;
  return { rate: side.iops, requests: side.total_ios, latencyUs };
}

function timed(duration: Duration): string[] {
  if (duration === "one pass") return [];
  const { runtimeMs } = duration;
  return ["--time_based", `--runtime=${runtimeMs}ms`, `--ramp_time=${Math.round(RAMP * runtimeMs)}ms`];
}
