import { realpathSync } from "node:fs";
import { listAttachments } from "../attach/attachment.ts";
import { notAttached } from "../attach/not-attached.ts";
import { takeDown } from "../attach/take-down.ts";
import type { CliContext } from "../context.ts";

/** `perdure detach`: takes back what `attach` made. */
export async function detach(
  context: CliContext,
  { force = false }: { force?: boolean },
  device: string,
): Promise<void> {
  const attachments = listAttachments(context.process.env);
  // Devices are told by their real paths; a file of nbdfuse that hangs is not asked for its own.
  const found = attachments.find((it) => it.device === device) ?? attachments.find((it) => it.device === real(device));
  if (found === undefined) throw notAttached(`${device} was not attached by perdure`, attachments);
  await takeDown(found, { force });
}

function real(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}
