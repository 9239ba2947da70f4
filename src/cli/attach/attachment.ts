// What is attached is told by a folder for each attachment. Everything that can be asked of the kernel is asked of it,
// so that a folder whose processes were killed is still enough to take down what they left.

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PerdureError } from "../../base/index.ts";
import type { ProcessId } from "./processes.ts";

const PRIVATE_MODE = 0o700;

/** A disk of a server as a device of this machine. */
export interface Attachment {
  /** Holds the relay's socket, the log, and what nbdfuse mounts. */
  readonly folder: string;
  readonly uri: string;
  /** A block device; where this user may have none, the file of nbdfuse. */
  readonly device: string;
  /** Who holds it: the relay lives there. */
  readonly keeper: ProcessId;
  readonly nbdfuse?: ProcessId | undefined;
  /** Of the kernel's own client. */
  readonly connection?: string | undefined;
  /** Where `perdure mount` has mounted it. */
  readonly mountPoint?: string | undefined;
}

/** Where nbdfuse mounts in the folder of an attachment. */
export function fuseFolder(folder: string): string {
  return join(folder, "nbd");
}

/** Makes the folder of a new attachment. @throws EACCES, ENOENT */
export function newFolder(env: NodeJS.ProcessEnv): string {
  const root = attachedFolder(env);
  try {
    mkdirSync(root, { recursive: true, mode: PRIVATE_MODE });
    // The kernel tells of files by their real paths.
    return realpathSync(mkdtempSync(join(root, "disk-")));
  } catch (cause) {
    throw new PerdureError("EACCES", `${root}: ${(cause as Error).message}`, {
      remedy: "name another folder in PERDURE_RUN_DIR",
      cause,
    });
  }
}

/** Writes down what is attached. Who reads it meanwhile finds the one before. */
export function writeAttachment(attachment: Attachment): void {
  const path = join(attachment.folder, "attachment.json");
  writeFileSync(`${path}.new`, JSON.stringify(attachment));
  renameSync(`${path}.new`, path);
}

/** Every attachment of this user, also those whose processes have died. Folders that are not complete are left out. */
export function listAttachments(env: NodeJS.ProcessEnv): Attachment[] {
  return namesIn(attachedFolder(env)).flatMap((name) => {
    try {
      const text = readFileSync(join(attachedFolder(env), name, "attachment.json"), "utf8");
      return [JSON.parse(text) as Attachment];
    } catch {
      return [];
    }
  });
}

/** @throws ENOENT when there is no place for it */
function attachedFolder(env: NodeJS.ProcessEnv): string {
  const { PERDURE_RUN_DIR: asked, XDG_RUNTIME_DIR: ofUser } = env;
  if (asked !== undefined && asked !== "") return join(asked, "attached");
  if (process.geteuid?.() === 0) return "/run/perdure/attached";
  if (ofUser !== undefined && ofUser !== "") return join(ofUser, "perdure", "attached");
  throw new PerdureError("ENOENT", "there is no folder for what is attached", {
    remedy: "name one in PERDURE_RUN_DIR, or log in so that XDG_RUNTIME_DIR is set",
  });
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
