import { type Attachment, listAttachments, newFolder } from "../attach/attachment.ts";
import { diskUri } from "../attach/disk-uri.ts";
import { keep } from "../attach/keeper.ts";
import { startKeeper } from "../attach/start-keeper.ts";
import { discard, sweep } from "../attach/take-down.ts";
import type { CliContext } from "../context.ts";
import { jsonLine, print } from "../output.ts";
import { logTo } from "../serving.ts";

interface AttachFlags {
  readonly timeout?: number;
  readonly foreground?: boolean;
  readonly json?: boolean;
}

/** `perdure attach`: a disk as a device of this machine. */
export async function attach(context: CliContext, flags: AttachFlags, source: string, name = ""): Promise<void> {
  const { stdout, stderr, env } = context.process;
  const uri = diskUri(source, name);
  await sweep(listAttachments(env));
  const plan = { folder: newFolder(env), uri, timeoutMs: 1000 * (flags.timeout ?? 0) };
  const tell = ({ device, folder, keeper }: Attachment): void => {
    print(stdout, flags.json === true ? jsonLine({ device, uri, folder, keeperPid: keeper.pid }) : device);
  };
  if (flags.foreground !== true) {
    tell(await startKeeper(plan));
    return;
  }
  try {
    await keep(plan, logTo(stderr), tell);
  } catch (error) {
    await discard(plan.folder);
    throw error;
  }
}
