import { spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { type ErrorCode, PerdureError } from "../../base/index.ts";
import type { Attachment } from "./attachment.ts";
import type { KeeperPlan } from "./keeper.ts";
import { discard } from "./take-down.ts";

/** What a keeper says when the disk is attached, or cannot be. */
interface Message {
  readonly attachment?: Attachment;
  readonly error?: { readonly code: ErrorCode; readonly message: string; readonly remedy?: string };
}

const program = fileURLToPath(new URL("./keeper-main.js", import.meta.url));

/**
 * Attaches a disk in the background.
 *
 * @throws what the keeper threw; then nothing is left of it
 */
export async function startKeeper(plan: KeeperPlan): Promise<Attachment> {
  const logPath = join(plan.folder, "log");
  const log = openSync(logPath, "a", 0o600);
  // It works in no folder that somebody may want to unmount, and no terminal ends it.
  const child = spawn(process.execPath, [program, JSON.stringify(plan)], {
    stdio: ["ignore", "pipe", log],
    detached: true,
    cwd: "/",
  });
  closeSync(log);
  const line = await firstLine(child.stdout as Readable);
  child.stdout?.destroy();
  child.unref();
  const message = line === undefined ? undefined : (JSON.parse(line) as Message);
  if (message?.attachment !== undefined) return message.attachment;
  const said = readFileSync(logPath, "utf8").trim();
  await discard(plan.folder);
  const { code = "EIO", message: text = `the relay ended: ${said}`, remedy } = message?.error ?? {};
  throw new PerdureError(code, text, remedy === undefined ? {} : { remedy });
}

/** Undefined when the stream ends without one. */
async function firstLine(stream: Readable): Promise<string | undefined> {
  for await (const line of createInterface(stream)) return line;
  return undefined;
}
