import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { formatSize } from "../src/base/index.ts";
import { type Peer, startNbdkit, startPerdure } from "./nbd-peers.ts";
import type { Scale } from "./scale.ts";
import { ratios, summarize } from "./statistics.ts";
import { figure, type Report } from "./table.ts";

const MIB = 2 ** 20;
const USER = "bench";

/** Measures copies of whole disks under TLS, by nbdcopy: fio's engine cannot be told a key. */
export async function benchNbdTls(scale: Scale, folder: string): Promise<Report> {
  const pskFile = join(folder, "keys.psk");
  const image = join(folder, "image");
  writeFileSync(pskFile, `${USER}:${randomBytes(32).toString("hex")}\n`, { mode: 0o600 });
  writeFileSync(image, randomBytes(scale.diskBytes));
  try {
    return await measure(scale, { folder, pskFile, image });
  } finally {
    for (const path of [pskFile, image]) rmSync(path);
  }
}

interface Paths {
  readonly folder: string;
  readonly pskFile: string;
  readonly image: string;
}

async function measure({ diskBytes, nbdRepeats }: Scale, { folder, pskFile, image }: Paths): Promise<Report> {
  await using perdure = await startPerdure(folder, "tls", diskBytes, { pskFile });
  await using nbdkit = await startNbdkit(folder, diskBytes, pskFile);
  const uriOf = ({ socketPath }: Peer): string => `nbds+unix://${USER}@/?socket=${socketPath}&tls-psk-file=${pskFile}`;
  const rows: string[][] = [];
  for (const direction of ["write", "read"]) {
    const rates: number[][] = [[], []];
    for (let repeat = 0; repeat < nbdRepeats; repeat++) {
      for (const [k, peer] of [perdure, nbdkit].entries()) {
        const paths = direction === "write" ? [image, uriOf(peer)] : [uriOf(peer), "null:"];
        rates[k].push(diskBytes / MIB / (await secondsOf("nbdcopy", paths)));
      }
    }
    const { median } = ratios(rates[0], rates[1]);
    const speeds = rates.map((values) => `${figure(summarize(values).median)} MiB/s`);
    rows.push([`${direction} all`, ...speeds, `${median.toFixed(2)}×`]);
  }
  return {
    title: "NBD under TLS",
    head: ["what", "perdure", "nbdkit memory", "to nbdkit"],
    rows,
    notes: [
      `Medians of ${nbdRepeats} runs of nbdcopy over a disk of ${formatSize(diskBytes)}, with shared keys;`,
      "the start of nbdcopy is part of them. One event loop serves all clients under TLS.",
    ],
  };
}

async function secondsOf(program: string, args: readonly string[]): Promise<number> {
  const began = performance.now();
  await promisify(execFile)(program, [...args]);
  return (performance.now() - began) / 1000;
}
