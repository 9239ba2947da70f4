// Boots a program on a kernel of its own, in QEMU under software emulation: it needs no rights and no hardware.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { requireTool } from "../support/tools.ts";
import { writeInitramfs, writePayload } from "./initramfs.ts";
import { guestKernel } from "./kernel.ts";

const TOOLS = ["qemu-system-x86_64", "busybox", "timeout", "ldd", "apt-get", "apt-cache", "dpkg-deb"];
const REPOSITORY = join(import.meta.dirname, "../../..");
const CACHE = join(REPOSITORY, ".cache/guest");

/** The machine and what runs on it. */
export interface GuestOptions {
  /** Compiled module under `dist/test/guest` that the first process starts, in every life anew. */
  readonly program: string;
  readonly memoryMiB: number;
  /** Memory that the kernel leaves alone and offers as a persistent device. */
  readonly reserve?: { readonly sizeMiB: number; readonly atMiB: number };
  /** Modules that the kernel loads beside those that every guest needs. */
  readonly modules?: readonly string[];
  /** Programs of this machine that it has, too, in /usr/sbin. */
  readonly tools?: readonly string[];
  /** Limit of one attempt, of which there are at most two. */
  readonly timeoutMs: number;
}

/** What a guest left behind. */
export interface GuestResult {
  /** The serial console: the kernel's messages and what the program printed. */
  readonly lines: readonly string[];
  /** Exit code of the program in the last life; undefined when it never ended by itself. */
  readonly exit: number | undefined;
}

/** Tells a test whether it can boot a guest; like `requireTool`, it skips the test or, with CI=true, fails. */
export function requireGuest(t: TestContext): boolean {
  if (!requireTool(t, ...TOOLS)) return false;
  try {
    if (process.arch !== "x64") throw new Error("the guest is built for x64 only");
    guestKernel(CACHE);
    return true;
  } catch (error) {
    if (process.env.CI === "true") throw error;
    t.skip(`no guest: ${(error as Error).message}`);
    return false;
  }
}

/**
 * Boots the guest and waits until it powers off or its time is over.
 *
 * Under software emulation a kernel sometimes dies while it starts, before anything of ours runs; such an attempt is
 * repeated once. What happens while the program runs is never repeated: it may be what the test is looking for.
 *
 * @throws Error when the kernel cannot be had or QEMU cannot be started
 */
export async function bootGuest(options: GuestOptions): Promise<GuestResult> {
  const kernel = guestKernel(CACHE);
  const folder = mkdtempSync(join(tmpdir(), "perdure-guest-"));
  try {
    const [initramfs, payload] = [join(folder, "initramfs"), join(folder, "payload")];
    const { program, modules = [], tools = [] } = options;
    writeInitramfs(initramfs, REPOSITORY, kernel, modules);
    writePayload(payload, REPOSITORY, { kernel, initramfs, program, tools });
    const files = { image: kernel.image, initramfs, payload };
    const first = await runMachine(files, options);
    if (!diedWhileStarting(first)) return first;
    console.log(`the guest's kernel died while it started, so once more; its last words:`);
    console.log(first.lines.slice(-40).join("\n"));
    return await runMachine(files, options);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function runMachine(
  files: { image: string; initramfs: string; payload: string },
  options: GuestOptions,
): Promise<GuestResult> {
  const { reserve } = options;
  const reserved = reserve === undefined ? "" : `memmap=${reserve.sizeMiB}M!${reserve.atMiB}M `;
  // An oops becomes a panic and a panic a reset, which -no-reboot makes the end: nothing hangs until the time is over.
  const kernelLine = `console=ttyS0 quiet oops=panic panic=-1 ${reserved}life=1`;
  // The next kernel overwrites memory whose code QEMU has translated, and each forgotten translation costs: with the
  // default, large cache for them the second life starts in 8.5 s, with 64 MiB, which are emptied in time, in 4.5 s.
  const accelerator = "tcg,tb-size=64";
  // timeout(1) ends QEMU also when the test itself was killed and can no longer.
  const command = [
    ["--signal=KILL", String(options.timeoutMs / 1000), "qemu-system-x86_64"],
    ["-accel", accelerator, "-cpu", "max", "-smp", "1", "-m", String(options.memoryMiB)],
    ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio"],
    ["-kernel", files.image, "-initrd", files.initramfs, "-append", kernelLine],
    ["-drive", `if=none,id=payload,format=raw,readonly=on,file=${files.payload}`],
    ["-device", "virtio-blk-pci,drive=payload"],
  ];
  const child = spawn("timeout", command.flat(), { stdio: ["ignore", "pipe", "pipe"] });
  const output: Buffer[] = [];
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => output.push(chunk));
  await new Promise((resolve, reject) => child.on("error", reject).on("close", resolve));
  const lines = Buffer.concat(output).toString("utf8").split(/\r*\n/);
  const end = lines.map((line) => /^guest: program ended with (\d+)/.exec(line)).findLast((match) => match !== null);
  return { lines, exit: end === undefined || end === null ? undefined : Number(end[1]) };
}

/** A kernel is starting until init says that it is up, and again from the moment that the program leaves it. */
function diedWhileStarting(result: GuestResult): boolean {
  const last = result.lines.findLast((line) => line.startsWith("guest: "));
  return last === undefined || last === "guest: leaving the kernel";
}
