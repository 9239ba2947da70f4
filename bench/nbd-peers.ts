import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, rmSync, truncateSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { ServeTask } from "./nbd-server.ts";

/** A server that fio is pointed at. */
export interface Peer extends AsyncDisposable {
  readonly name: string;
  readonly socketPath: string;
  readonly pid: number;
}

/** What a client that wants nothing sends: flags "fixed newstyle", then "IHAVEOPT" with NBD_OPT_ABORT and no data. */
const GOODBYE = Buffer.from("0000000149484156454f50540000000200000000", "hex");
/** How long a server may take to listen, and to end. */
const PATIENCE_MS = 10_000;

/** Perdure on a region of twice the disk's size, as a process of its own; with keys clients must encrypt. */
export async function startPerdure(
  folder: string,
  name: string,
  diskBytes: number,
  options: Pick<ServeTask, "pskFile" | "maxConnections"> = {},
): Promise<Peer> {
  const socketPath = join(folder, `${name}.sock`);
  const regionPath = join(folder, `${name}.region`);
  const task: ServeTask = { regionPath, regionBytes: 2 * diskBytes, diskBytes, socketPath, ...options };
  const program = fileURLToPath(new URL("nbd-server.js", import.meta.url));
  return start("perdure", socketPath, [process.execPath, program, JSON.stringify(task)], [regionPath]);
}

/** nbdkit's memory plug-in: a disk in the server's own heap; with keys clients must encrypt. */
export async function startNbdkit(folder: string, diskBytes: number, pskFile?: string): Promise<Peer> {
  const socketPath = join(folder, pskFile === undefined ? "nbdkit.sock" : "nbdkit-tls.sock");
  const tls = pskFile === undefined ? [] : ["--tls=require", `--tls-psk=${pskFile}`];
  const options = ["--foreground", "--exit-with-parent", ...tls, "--unix", socketPath];
  return start("nbdkit", socketPath, ["nbdkit", ...options, "memory", `size=${diskBytes}`], []);
}

/** qemu-nbd on a file of the same tmpfs. */
export async function startQemuNbd(folder: string, diskBytes: number): Promise<Peer> {
  const socketPath = join(folder, "qemu.sock");
  const file = join(folder, "qemu.raw");
  closeSync(openSync(file, "wx", 0o600));
  truncateSync(file, diskBytes);
  const options = ["--persistent", "--format=raw", "--shared=0", `--socket=${socketPath}`];
  return start("qemu-nbd", socketPath, ["qemu-nbd", ...options, file], [file]);
}

async function start(name: string, socketPath: string, command: string[], files: string[]): Promise<Peer> {
  const child = spawn(command[0], command.slice(1), { stdio: ["pipe", "ignore", "inherit"] });
  const gone = new Promise<void>((resolve) => {
    child.once("error", () => resolve());
    child.once("close", () => resolve());
  });
  const kill = (): boolean => child.kill("SIGKILL");
  process.once("exit", kill);
  const stop = async (): Promise<void> => {
    // Ours closes its region when its standard input ends; the others know signals only.
    child.stdin.end();
    if (name !== "perdure") child.kill("SIGTERM");
    const deadline = setTimeout(kill, PATIENCE_MS);
    await gone;
    clearTimeout(deadline);
    process.off("exit", kill);
    for (const path of [...files, socketPath]) rmSync(path, { force: true });
  };
  if (await listens(socketPath, child)) {
    return { name, socketPath, pid: child.pid as number, [Symbol.asyncDispose]: stop };
  }
  await stop();
  throw new Error(`${name} does not listen on ${socketPath}`);
}

async function listens(path: string, child: ChildProcess): Promise<boolean> {
  for (const deadline = Date.now() + PATIENCE_MS; Date.now() < deadline && child.exitCode === null; await sleep(20)) {
    if (await accepts(path)) return true;
  }
  return false;
}

function accepts(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    // Servers greet first, and complain on standard error about a client that leaves without a word.
    socket.once("data", () => {
      socket.end(GOODBYE);
      socket.resume();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
