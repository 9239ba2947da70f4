// The commands that attach disks, with a folder of their own for what is attached, and its removal by other means than
// those commands when a test has failed.

import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { type Attachment, fuseFolder, listAttachments } from "../../src/cli/attach/attachment.ts";
import { listMounts, loopDevicesOver } from "../../src/cli/attach/host-mounts.ts";
import { isAlive, type ProcessId } from "../../src/cli/attach/processes.ts";
import { type CliResult, perdure } from "./cli.ts";
import { runNow, type TestBed } from "./e2e-test-bed.ts";

export class Attached {
  readonly env: { readonly PERDURE_RUN_DIR: string };
  readonly #bed: TestBed;

  constructor(bed: TestBed) {
    this.#bed = bed;
    this.env = { PERDURE_RUN_DIR: join(bed.folder, "run") };
    bed.undo(() => this.#takeDownNow());
  }

  /** What is attached now. */
  get all(): Attachment[] {
    return listAttachments(this.env);
  }

  /** The only attachment. */
  get one(): Attachment {
    const { all } = this;
    if (all.length !== 1) throw new Error(`${all.length} attachments`);
    return all[0];
  }

  /** Runs a command, whatever comes of it. */
  run(...args: readonly string[]): Promise<CliResult> {
    return perdure(args, { env: this.env });
  }

  /** Runs a command that must succeed. @returns what it printed on standard output */
  async do(...args: readonly string[]): Promise<string> {
    const { code, signal, stdout, stderr } = await this.run(...args);
    if (code !== 0) throw new Error(`perdure ${args.join(" ")} ended with ${code ?? signal}: ${stderr}`);
    return stdout.trim();
  }

  /** A folder to mount on. */
  newFolder(name: string): string {
    const folder = join(this.#bed.folder, name);
    mkdirSync(folder);
    return folder;
  }

  /** What is left of everything that was attached: processes, devices, mounts and folders. */
  leftovers(processes: readonly (ProcessId | undefined)[]): string[] {
    const folder = join(this.env.PERDURE_RUN_DIR, "attached");
    return [
      ...processes.filter((id) => isAlive(id)).map((id) => `process ${id?.pid}`),
      ...loopDevicesOver(folder),
      ...listMounts().flatMap(({ point }) => (point.startsWith(this.#bed.folder) ? [point] : [])),
      ...(existsSync(folder) ? readdirSync(folder) : []),
    ];
  }

  #takeDownNow(): void {
    for (const { folder, keeper, nbdfuse, mountPoint } of this.all) {
      // Without its processes every access fails at once, and nothing can wait for it.
      for (const id of [keeper, nbdfuse]) if (id !== undefined) runNow("kill", "-9", String(id.pid));
      if (mountPoint !== undefined) runNow("umount", "--lazy", mountPoint);
      for (const device of loopDevicesOver(folder)) runNow("losetup", "--detach", device);
      runNow("umount", "--lazy", fuseFolder(folder));
    }
  }
}
