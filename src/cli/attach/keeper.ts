import type { SpawnOptions } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isPerdureError, PerdureError } from "../../base/index.ts";
import { exportUri, type Log, NbdRelay, parseExportUri } from "../../nbd/index.ts";
import { stopSignal } from "../stop-signal.ts";
import { type Attachment, fuseFolder, writeAttachment } from "./attachment.ts";
import { connectionOf, freeNbdDevices, listMounts } from "./host-mounts.ts";
import { identify, type ProcessId, runProgram, startProgram } from "./processes.ts";
import { takeDown } from "./take-down.ts";

/** What is to be attached. */
export interface KeeperPlan {
  /** Made for it, and removed by it. */
  readonly folder: string;
  readonly uri: string;
  /** How long requests wait for the server; 0 is for ever. */
  readonly timeoutMs: number;
}

/** `<linux/nbd.h>`: what the kernel reads and writes at once is a multiple of this. */
const BLOCK_BYTES = "4096";
const patienceMs = 10_000;

/** A disk behind a relay, on its way to a device. */
interface Source {
  readonly plan: KeeperPlan;
  readonly socket: string;
  readonly name: string;
  readonly readOnly: boolean;
}

/** Attaches a disk and holds it until a signal asks for its end and nobody uses it any longer. */
export async function keep(plan: KeeperPlan, log: Log, onReady: (attachment: Attachment) => void): Promise<void> {
  let stopped = stopSignal();
  const place = parseExportUri(plan.uri);
  await using relay = await NbdRelay.open(place, { timeoutMs: plan.timeoutMs, log });
  const socket = join(plan.folder, "relay.sock");
  await relay.listenUnix(socket);
  const attachment = await attach({ plan, socket, name: place.name, readOnly: relay.readOnly });
  onReady(attachment);
  for (;;) {
    await stopped;
    try {
      await takeDown(attachment, { byKeeper: true });
      return;
    } catch (error) {
      log.error({ err: error }, "the disk stays attached");
      stopped = stopSignal();
    }
  }
}

/** Makes the device. When that fails, nothing is left. */
async function attach(source: Source): Promise<Attachment> {
  const { folder, uri } = source.plan;
  const keeper = identify(process.pid) as ProcessId;
  const base: Attachment = { folder, uri, device: "", keeper };
  // Written down before it is done: whoever finds it half done can take it down.
  writeAttachment(base);
  const connected = await connectKernel(source, base);
  if (connected !== undefined) return connected;
  mkdirSync(fuseFolder(folder));
  const nbdfuse = await startNbdfuse(source);
  const file = fileOf(source);
  const mounted: Attachment = { ...base, device: file, nbdfuse };
  writeAttachment(mounted);
  if (process.geteuid?.() !== 0) return mounted;
  try {
    const mode = source.readOnly ? ["--read-only"] : [];
    const device = (await runProgram("losetup", "--find", "--show", ...mode, file)).trim();
    const attached = { ...mounted, device };
    writeAttachment(attached);
    return attached;
  } catch (error) {
    await takeDown(mounted, { byKeeper: true });
    throw error;
  }
}

/**
 * The kernel's own client. Its socket is the relay's, which outlives the server.
 *
 * @returns undefined where the kernel has none, or nbd-client is not installed
 */
async function connectKernel({ socket, name }: Source, base: Attachment): Promise<Attachment | undefined> {
  const [device] = process.geteuid?.() === 0 ? freeNbdDevices() : [];
  if (device === undefined) return undefined;
  try {
    await runProgram("nbd-client", "-unix", socket, device, "-N", name, "-b", BLOCK_BYTES);
  } catch (error) {
    if (isPerdureError(error, "ENOENT")) return undefined;
    throw error;
  }
  const attached = { ...base, device, connection: connectionOf(device) };
  writeAttachment(attached);
  return attached;
}

function fileOf({ plan, name }: Source): string {
  // The name of an export may hold what no file name can.
  return join(fuseFolder(plan.folder), /^[\w.-]+$/.test(name) && !name.startsWith(".") ? name : "disk");
}

async function startNbdfuse(source: Source): Promise<ProcessId> {
  const { socket, name, readOnly } = source;
  const uri = exportUri({ kind: "unix", path: socket }, name);
  const mode = readOnly ? ["--readonly"] : [];
  // In a session of its own: Ctrl-C is for the keeper, which knows the order in which things end.
  const options: SpawnOptions = { stdio: ["ignore", "ignore", "pipe"], detached: true };
  const child = await startProgram("nbdfuse", [...mode, fileOf(source), uri], options);
  const nbdfuse = identify(child.pid as number);
  let said = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    said = text;
    process.stderr.write(text);
  });
  for (const deadline = Date.now() + patienceMs; child.exitCode === null && Date.now() < deadline; await sleep(10)) {
    const isMounted = listMounts().some(({ point }) => point === fuseFolder(source.plan.folder));
    if (isMounted && nbdfuse !== undefined && existsSync(fileOf(source))) return nbdfuse;
  }
  child.kill("SIGKILL");
  throw new PerdureError("EIO", `nbdfuse could not mount the disk: ${said.trim()}`, {
    remedy: "look whether /dev/fuse is there and may be used by this user",
  });
}
