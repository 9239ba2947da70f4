import { realpathSync } from "node:fs";
import { resolve } from "node:path";
import { type Attachment, listAttachments } from "../attach/attachment.ts";
import { listMounts } from "../attach/host-mounts.ts";
import { notAttached } from "../attach/not-attached.ts";
import { killProcess, runProgram } from "../attach/processes.ts";
import { mountPoints, takeDown } from "../attach/take-down.ts";
import type { CliContext } from "../context.ts";
import { print } from "../output.ts";

/** After this time somebody may wonder. */
const patienceMs = 5_000;

/** `perdure umount`: takes back what `mount` made; what was written is with the server then. */
export async function umount(
  context: CliContext,
  { force = false }: { force?: boolean },
  folder: string,
): Promise<void> {
  const { stderr, env } = context.process;
  const attachments = listAttachments(env);
  // Links are followed only where it must be: to look at a mount without a server may take long.
  const point = find(attachments, resolve(folder)) === undefined ? real(folder) : resolve(folder);
  const attachment = find(attachments, point);
  if (attachment === undefined) throw notAttached(`nothing was mounted on ${folder} by perdure`, attachments);
  const hint = setTimeout(() => {
    print(stderr, `still waiting for the server; to give up what it did not take: perdure umount --force ${point}`);
  }, patienceMs);
  try {
    // Without its keeper the disk fails at once, and nothing waits for it.
    if (force) await killProcess(attachment.keeper);
    if (listMounts().some((mount) => mount.point === point)) await runProgram("umount", point);
    await takeDown(attachment, { force });
  } finally {
    clearTimeout(hint);
  }
}

/** Also what was attached by us and mounted by somebody else. */
function find(attachments: readonly Attachment[], point: string): Attachment | undefined {
  return (
    attachments.find((attachment) => mountPoints(attachment).includes(point)) ??
    attachments.find(({ mountPoint }) => mountPoint === point)
  );
}

function real(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return resolve(path);
  }
}
