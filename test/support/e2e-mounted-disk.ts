// A disk of a server as a block device of this machine, without a kernel module for NBD:
//
//     server <-NBD- nbdfuse -> one file in a FUSE mount -> loop device -> ext4 mount

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync } from "node:fs";
import { join } from "node:path";
import { ended, runNow, runTool, type TestBed, until } from "./e2e-test-bed.ts";
import { which } from "./tools.ts";

export class MountedDisk {
  /** The block device. */
  readonly device: string;
  readonly #bed: TestBed;
  readonly #undo: (() => unknown)[];

  private constructor(bed: TestBed, device: string, undo: (() => unknown)[]) {
    this.#bed = bed;
    this.device = device;
    this.#undo = undo;
  }

  /** Attaches a disk to a free loop device. */
  static async attach(bed: TestBed, uri: string): Promise<MountedDisk> {
    const folder = mkdtempSync(join(bed.folder, "fuse-"));
    const nbdfuse = spawn(which("nbdfuse") ?? "nbdfuse", [folder, uri], { stdio: "ignore" });
    const file = join(folder, "nbd");
    const undoFuse = bed.undo(() => {
      // Without its process every access to the mount fails at once, and nothing can wait for it.
      nbdfuse.kill("SIGKILL");
      runNow("umount", "--lazy", folder);
      return ended(nbdfuse);
    });
    await until(() => existsSync(file) || nbdfuse.exitCode !== null, "nbdfuse");
    const device = (await runTool("losetup", "--find", "--show", file)).trim();
    const undoLoop = bed.undo(() => runNow("losetup", "--detach", device));
    return new MountedDisk(bed, device, [undoFuse, undoLoop]);
  }

  /** Mounts the file system of the disk; trims reach the server, so that it ages as disks do. */
  async mount(): Promise<string> {
    const folder = mkdtempSync(join(this.#bed.folder, "mount-"));
    await runTool("mount", "-t", "ext4", "-o", "discard", this.device, folder);
    this.#undo.push(this.#bed.undo(() => runNow("umount", "--lazy", folder)));
    return folder;
  }

  /** Unmounts what was mounted last, and waits until it is written. */
  async unmount(folder: string): Promise<void> {
    await runTool("umount", folder);
    this.#undo.pop()?.();
  }

  /** Takes everything down, whether the server still lives or not. */
  async detach(): Promise<void> {
    for (const step of this.#undo.splice(0).toReversed()) await step();
  }
}
