// What programs in the guest need of the machine they run on. Only ever used inside of the guest, as its root.

import { randomUUID } from "node:crypto";
import { existsSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import koffi from "koffi";

const libc = koffi.load("libc.so.6");
const syscall = libc.func(
  "long syscall(long number, long kernel, long initrd, long length, const char *line, long flags)",
);
const reboot = libc.func("int reboot(int command)");

/** `<asm/unistd_64.h>` and `<linux/reboot.h>` */
const SYS_kexec_file_load = 320;
const LINUX_REBOOT_CMD_KEXEC = 0x45584543;

/** Device node that reserved memory becomes. */
export const DAX_DEVICE = "/dev/dax0.0";
/** What it is while nothing on it says otherwise. */
const BLOCK_DEVICE = "/dev/pmem0";
const BUS = "/sys/bus/nd";
const ALIGN_BYTES = 2 * 2 ** 20;

/**
 * Makes the reserved memory a character device. Its first 2 MiB then say so for ever, so that the kernels after
 * this one find the device by themselves. Kernels make their devices in the background, so each is waited for.
 */
export async function setUpDaxDevice(): Promise<void> {
  if ((await firstToAppear(DAX_DEVICE, BLOCK_DEVICE)) === DAX_DEVICE) return;
  const device = `${BUS}/devices/dax0.0`;
  await firstToAppear(`${device}/mode`);
  writeFileSync(`${BUS}/drivers/nd_pmem/unbind`, "namespace0.0");
  // The kernel's records of the memory's pages go to ordinary memory: they need not survive.
  writeFileSync(`${device}/mode`, "ram");
  writeFileSync(`${device}/align`, String(ALIGN_BYTES));
  writeFileSync(`${device}/uuid`, randomUUID());
  writeFileSync(`${device}/namespace`, "namespace0.0");
  writeFileSync(`${BUS}/drivers/dax_pmem/bind`, "dax0.0");
  await firstToAppear(DAX_DEVICE);
}

async function firstToAppear(...paths: readonly string[]): Promise<string> {
  for (let waits = 0; waits < 500; waits++) {
    const found = paths.find((path) => existsSync(path));
    if (found !== undefined) return found;
    await setTimeout(20);
  }
  throw new Error(`waited 10 s in vain for ${paths.join(" or ")}`);
}

/** Number of the kernel since power-on, from 1: kexec counts it on. */
export function life(): number {
  return Number(/ life=(\d+)/.exec(kernelLine())?.[1]);
}

function kernelLine(): string {
  return readFileSync("/proc/cmdline", "utf8").trim();
}

/** Starts the next kernel in place of this one, at once: no process is told, no file closed. Does not return. */
export function kexec(): never {
  const line = kernelLine().replace(/ life=\d+/, ` life=${life() + 1}`);
  const [kernel, initrd] = [openSync("/guest/vmlinuz", "r"), openSync("/guest/initramfs", "r")];
  if (syscall(SYS_kexec_file_load, kernel, initrd, Buffer.byteLength(line) + 1, line, 0) !== 0) {
    throw new Error(`kexec_file_load failed with errno ${koffi.errno()}`);
  }
  console.log("guest: leaving the kernel");
  reboot(LINUX_REBOOT_CMD_KEXEC);
  throw new Error(`reboot failed with errno ${koffi.errno()}`);
}
