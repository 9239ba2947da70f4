import { spawnSync } from "node:child_process";
import { cpus, release, totalmem } from "node:os";
import { fileURLToPath } from "node:url";
import { formatSize } from "../src/base/index.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** What a table must name so that another can be held against it. */
export function versions(): string {
  const [cpu] = cpus();
  const lines = {
    perdure: firstLine("git", "-C", root, "describe", "--always", "--dirty"),
    node: process.version,
    kernel: release(),
    machine: `${cpus().length} cores (${cpu.model}), ${formatSize(Math.round(totalmem() / 2 ** 30) * 2 ** 30)}`,
    nbdkit: firstLine("nbdkit", "--version"),
    "qemu-nbd": firstLine("qemu-nbd", "--version"),
    fio: firstLine("fio", "--version"),
  };
  return Object.entries(lines)
    .map(([name, value]) => `${name}: ${value}`)
    .join("\n");
}

function firstLine(command: string, ...args: string[]): string {
  const { stdout, status } = spawnSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  return status === 0 ? stdout.split("\n")[0] : "none";
}
