// What the kernel says of mounts and block devices. Only what the kernel itself holds is read, never a path below a
// mount: that might wait for a server that is gone.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** A mount of this process's view. */
export interface Mount {
  readonly point: string;
  /** Major and minor number of its block device. */
  readonly device: string;
}

/** Every mount, in the order in which they were made (proc_pid_mountinfo(5)). */
export function listMounts(): Mount[] {
  return readFileSync("/proc/self/mountinfo", "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => line.split(" "))
    .map((fields) => ({ device: fields[2], point: unescape(fields[4]) }));
}

/** Where a block device is mounted. */
export function mountPointsOf(device: string): string[] {
  const numbers = readKernel(`/sys/class/block/${nameOf(device)}/dev`);
  return numbers === undefined ? [] : listMounts().flatMap((mount) => (mount.device === numbers ? [mount.point] : []));
}

/** The loop devices whose files lie in a folder. */
export function loopDevicesOver(folder: string): string[] {
  const loops = readdirSync("/sys/class/block").filter((name) => name.startsWith("loop"));
  return loops.flatMap((name) => {
    const file = readKernel(`/sys/class/block/${name}/loop/backing_file`);
    return file?.startsWith(`${folder}/`) === true ? [join("/dev", name)] : [];
  });
}

/** What tells a connection of the kernel's own client from others: who made it. Undefined where there is none. */
export function connectionOf(nbdDevice: string): string | undefined {
  return readKernel(`/sys/class/block/${nameOf(nbdDevice)}/pid`);
}

/** Devices of the kernel's own client that nobody uses. */
export function freeNbdDevices(): string[] {
  const names = readdirSync("/sys/class/block").filter((name) => /^nbd\d+$/.test(name));
  return names.map((name) => join("/dev", name)).filter((device) => connectionOf(device) === undefined);
}

function nameOf(device: string): string {
  return device.replace("/dev/", "");
}

function readKernel(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trimEnd();
  } catch {
    return undefined;
  }
}

function unescape(text: string): string {
  return text.replaceAll(/\\(\d{3})/g, (_whole, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
