import { realpathSync, statSync } from "node:fs";
import { PerdureError } from "../../base/index.ts";
import { type Attachment, listAttachments, newFolder, writeAttachment } from "../attach/attachment.ts";
import { diskUri } from "../attach/disk-uri.ts";
import { listMounts } from "../attach/host-mounts.ts";
import { runProgram } from "../attach/processes.ts";
import { startKeeper } from "../attach/start-keeper.ts";
import { sweep, takeDown } from "../attach/take-down.ts";
import type { CliContext } from "../context.ts";
import { print } from "../output.ts";

interface MountFlags {
  readonly mkfs?: string;
  readonly options?: string;
  readonly timeout?: number;
}

/** `perdure mount`: the file system of a disk, in a folder. */
export async function mount(context: CliContext, flags: MountFlags, ...words: readonly string[]): Promise<void> {
  const { stderr, env } = context.process;
  const [source, name] = words.length === 2 ? [words[0], ""] : words;
  const uri = diskUri(source, name);
  const mountPoint = checkFolder(words[words.length - 1]);
  if (process.geteuid?.() !== 0) {
    throw new PerdureError("EACCES", "only root can mount", { remedy: "call it with sudo" });
  }
  if (flags.mkfs !== undefined) await refuseContent(uri);
  await sweep(listAttachments(env));
  const attachment = await startKeeper({ folder: newFolder(env), uri, timeoutMs: 1000 * (flags.timeout ?? 0) });
  try {
    await mountDevice(attachment, mountPoint, flags);
  } catch (error) {
    await takeDown(attachment);
    throw error;
  }
  print(stderr, `${attachment.device} is mounted on ${mountPoint}`);
}

async function mountDevice(attachment: Attachment, mountPoint: string, { mkfs, options }: MountFlags): Promise<void> {
  const { device } = attachment;
  if (mkfs !== undefined) await runProgram(`mkfs.${mkfs}`, device);
  writeAttachment({ ...attachment, mountPoint });
  try {
    await runProgram("mount", ...(options === undefined ? [] : ["-o", options]), device, mountPoint);
  } catch (cause) {
    const remedy = "a disk that is new needs a file system first: --mkfs ext4";
    throw mkfs === undefined ? new PerdureError("EIO", (cause as Error).message, { remedy, cause }) : cause;
  }
}

/** A file system is made only where nothing was ever written, or everything was trimmed. */
async function refuseContent(uri: string): Promise<void> {
  const map = JSON.parse(await runProgram("nbdinfo", "--map", "--json", uri)) as { type: number }[];
  const ZERO = 2;
  if (map.every(({ type }) => (type & ZERO) !== 0)) return;
  throw new PerdureError("EEXIST", "the disk is not empty: no file system is made over what it holds", {
    remedy: "mount it without --mkfs, or use another disk",
  });
}

function checkFolder(folder: string): string {
  const isFolder = statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true;
  if (!isFolder)
    throw new PerdureError("ENOENT", `${folder} is no folder`, { remedy: `make it first: mkdir -p ${folder}` });
  const path = realpathSync(folder);
  if (!listMounts().some(({ point }) => point === path)) return path;
  throw new PerdureError("EBUSY", `something is mounted on ${path}`, {
    remedy: "unmount it, or choose another folder",
  });
}
