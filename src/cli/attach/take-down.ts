import { rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { PerdureError } from "../../base/index.ts";
import { type Attachment, fuseFolder } from "./attachment.ts";
import { connectionOf, listMounts, loopDevicesOver, mountPointsOf } from "./host-mounts.ts";
import { awaitEnd, endProcess, isAlive, killProcess, type ProcessId, runProgram } from "./processes.ts";

const patienceMs = 10_000;
/** How long udev and its like may look at a device. */
const releaseMs = 3_000;
const lookMs = 20;

/** How an attachment is taken down. */
export interface TakeDownOptions {
  /** Do not wait for the server: what it did not take is lost. */
  readonly force?: boolean;
  /** The keeper itself is at it. */
  readonly byKeeper?: boolean;
}

/**
 * Takes everything of an attachment down that is still there, in the order in which nothing is lost: what was written
 * is sent to the server, then device, file and relay go.
 *
 * @throws EBUSY when the device is mounted, EIO when the server does not take what was written: then all is as it was
 */
export async function takeDown(attachment: Attachment, options: TakeDownOptions = {}): Promise<void> {
  const { folder, keeper, nbdfuse } = attachment;
  const devices = devicesOf(attachment);
  refuseMounted(attachment);
  const isWhole = isAlive(keeper) && (nbdfuse === undefined || isAlive(nbdfuse));
  // With one of its processes dead nobody takes it any more.
  if (options.force !== true && isWhole) for (const device of devices) await flush(device);
  if (options.force === true && options.byKeeper !== true) await killProcess(keeper);
  for (const device of devices) {
    if (attachment.connection !== undefined) await runProgram("nbd-client", "-d", device);
    else await runProgram("losetup", "--detach", device);
  }
  await awaitRelease(attachment);
  if (listMounts().some(({ point }) => point === fuseFolder(folder))) {
    const lazily = options.force === true || !isAlive(nbdfuse) ? ["-z"] : [];
    await runProgram("fusermount3", "-u", ...lazily, fuseFolder(folder));
  }
  // Without its mount it ends by itself.
  if (nbdfuse !== undefined && !(await awaitEnd(nbdfuse, patienceMs))) await killProcess(nbdfuse);
  if (options.byKeeper !== true) await endProcess(keeper, patienceMs);
  rmSync(folder, { recursive: true, force: true });
}

/** Takes down what is left of attachments whose keepers have died, unless it is mounted: its user ends that. */
export async function sweep(attachments: readonly Attachment[]): Promise<void> {
  for (const attachment of attachments) {
    if (!isAlive(attachment.keeper)) await takeDown(attachment, { force: true }).catch(() => {});
  }
}

/** Takes down what is left of an attempt that has failed. */
export async function discard(folder: string): Promise<void> {
  const nobody: ProcessId = { pid: 0, startTicks: 0 };
  await takeDown({ folder, uri: "", device: "", keeper: nobody }, { force: true });
}

/** Where an attachment is mounted. */
export function mountPoints(attachment: Attachment): string[] {
  return devicesOf(attachment).flatMap(mountPointsOf);
}

/** The block devices of an attachment that are there. */
function devicesOf({ folder, device, connection }: Attachment): string[] {
  // A number may be somebody else's by now; what is behind it tells.
  if (connection === undefined) return loopDevicesOver(folder);
  return connectionOf(device) === connection ? [device] : [];
}

function refuseMounted(attachment: Attachment): void {
  const points = mountPoints(attachment);
  if (points.length === 0) return;
  throw new PerdureError("EBUSY", `${attachment.device} is mounted on ${points.join(" and ")}`, {
    remedy: `unmount it first: perdure umount ${points[0]}`,
  });
}

/** A device that is in use stays until its last user has gone, which may be one who only looks what came up there. */
async function awaitRelease(attachment: Attachment): Promise<void> {
  for (const deadline = Date.now() + releaseMs; Date.now() < deadline; await sleep(lookMs)) {
    if (devicesOf(attachment).length === 0) return;
  }
  throw new PerdureError("EBUSY", `${attachment.device} is in use`, {
    remedy: `end who uses it (fuser -v ${attachment.device}), then try again`,
  });
}

/** Sends what the kernel holds to the server. */
async function flush(device: string): Promise<void> {
  const handle = await open(device, "r");
  try {
    await handle.sync();
  } catch (cause) {
    throw new PerdureError("EIO", `what was written to ${device} could not be stored: ${(cause as Error).message}`, {
      remedy: "see the kernel log (dmesg); --force gives up what was not stored",
      cause,
    });
  } finally {
    await handle.close();
  }
}
