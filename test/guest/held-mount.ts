// A file system on the kernel's own NBD client, held by a relay while its server is killed and started again. Runs in
// the guest; called with "serve" it is the server.

import { fork, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, fsyncSync, mkdirSync, openSync, writeSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { keep } from "../../src/cli/attach/keeper.ts";
import { runProgram } from "../../src/cli/attach/processes.ts";
import { Region } from "../../src/index.ts";
import { NbdServer } from "../../src/nbd/index.ts";

const script = import.meta.filename;
const socket = "/tmp/server.sock";
const MiB = 2 ** 20;
const files = 10;
const lives = 2;

async function serve(): Promise<void> {
  const region = await Region.open("/tmp/region", { create: true, size: "64M" });
  // Threads would take seconds to start on a processor that is emulated.
  const server = new NbdServer({ threads: 0 });
  server.addExport(region.disks.open("disk", { create: true, size: 32 * MiB }));
  await server.listenUnix(socket);
  process.send?.("ready");
}

/** Starts the server. @returns how to kill it */
async function startServer(): Promise<() => Promise<void>> {
  const child = fork(script, ["serve"]);
  await once(child, "message");
  return async () => {
    child.kill("SIGKILL");
    await once(child, "exit");
  };
}

/** Writes files as a process of its own: it waits in the kernel while there is no server. */
function writeFiles(life: number): void {
  for (let k = 0; k < files; k++) {
    const file = openSync(`/tmp/mnt/${life}-${k}`, "wx");
    writeSync(file, contentOf(life, k));
    fsyncSync(file);
    closeSync(file);
    writeSync(1, ".");
  }
}

function contentOf(life: number, k: number): Buffer {
  return Buffer.alloc(50_000 + k, `${life}.${k} `);
}

/** Nothing here may block: the relay that answers is in this process. */
async function useDevice(device: string): Promise<void> {
  console.log(`attached ${device}`);
  await runProgram("mkfs.ext4", "-q", device);
  await runProgram("mount", "-t", "ext4", device, "/tmp/mnt");
  for (let life = 1; life <= lives; life++) {
    const writer = spawn(process.execPath, [script, "write", String(life)], { stdio: ["ignore", "pipe", "inherit"] });
    await once(writer.stdout, "data");
    await killServer();
    killServer = await startServer();
    // Its dots are not read any more; a pipe holds them all.
    const [code] = (await once(writer, "exit")) as [number];
    console.log(`life ${life}: the writer ended with ${code}`);
  }
  await runProgram("umount", "/tmp/mnt");
  await runProgram("e2fsck", "-f", "-n", device);
  console.log("the file system is clean");
  await runProgram("mount", "-t", "ext4", device, "/tmp/mnt");
  const names = Array.from({ length: lives * files }, (_, k) => [1 + Math.floor(k / files), k % files]);
  let whole = 0;
  for (const [life, k] of names) {
    const content = await readFile(`/tmp/mnt/${life}-${k}`);
    if (content.equals(contentOf(life, k))) whole++;
  }
  console.log(`${whole} of ${names.length} files are whole`);
  await runProgram("umount", "/tmp/mnt");
}

let killServer = async (): Promise<void> => {};

async function hold(): Promise<void> {
  process.env.PATH = "/usr/sbin:/bin";
  await runProgram("mount", "-t", "tmpfs", "tmpfs", "/tmp");
  for (const folder of ["/tmp/mnt", "/tmp/attached"]) mkdirSync(folder);
  killServer = await startServer();
  const log = { debug() {}, info() {}, warn: tell, error: tell };
  const plan = { folder: "/tmp/attached", uri: `nbd+unix:///disk?socket=${socket}`, timeoutMs: 0 };
  await keep(plan, log, ({ device }) => {
    useDevice(device).then(
      () => process.kill(process.pid, "SIGTERM"),
      (error) => {
        console.error(error);
        process.exit(1);
      },
    );
  });
  console.log("detached");
  await killServer();
}

function tell(_fields: object, message: string): void {
  console.log(`relay: ${message}`);
}

const [task, life] = process.argv.slice(2);
if (task === "serve") await serve();
else if (task === "write") writeFiles(Number(life));
else await hold();
