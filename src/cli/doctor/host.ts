import { accessSync, constants, existsSync, readdirSync, readFileSync, statfsSync, statSync } from "node:fs";
import { userInfo } from "node:os";
import { join } from "node:path";

/** What the doctor asks a machine; tests answer in its place. */
export interface Host {
  readonly userId: number;
  /** As the password file has it; its number where it has none. */
  readonly userName: string;
  /** As `process.versions.node`. */
  readonly nodeVersion: string;
  /** The text of a file; undefined when it is not there or may not be read. */
  read(path: string): string | undefined;
  /** The names in a folder; none when it is not there. */
  list(path: string): readonly string[];
  exists(path: string): boolean;
  /** Size of a file in bytes; undefined when there is none. */
  sizeOf(path: string): number | undefined;
  /** Size and free space of the file system of a path; undefined when the path is not there. */
  room(path: string): { readonly sizeBytes: number; readonly freeBytes: number } | undefined;
  /** True when a program of that name would be found. */
  hasProgram(name: string): boolean;
}

/** The machine that this process runs on. */
export function thisHost(env: NodeJS.ProcessEnv): Host {
  const folders = [...(env.PATH ?? "").split(":"), "/usr/sbin", "/sbin"].filter((folder) => folder !== "");
  return {
    userId: process.geteuid?.() ?? 0,
    userName: orUndefined(() => userInfo().username) ?? String(process.geteuid?.()),
    nodeVersion: process.versions.node,
    read: (path) => orUndefined(() => readFileSync(path, "utf8")),
    list: (path) => orUndefined(() => readdirSync(path)) ?? [],
    exists: (path) => existsSync(path),
    sizeOf: (path) => orUndefined(() => statSync(path).size),
    room: (path) =>
      orUndefined(() => {
        const { blocks, bavail, bsize } = statfsSync(path);
        return { sizeBytes: blocks * bsize, freeBytes: bavail * bsize };
      }),
    hasProgram: (name) => folders.some((folder) => isProgram(join(folder, name))),
  };
}

function isProgram(path: string): boolean {
  return orUndefined(() => (accessSync(path, constants.X_OK), true)) ?? false;
}

function orUndefined<T>(act: () => T): T | undefined {
  try {
    return act();
  } catch {
    return undefined;
  }
}
