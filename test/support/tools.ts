// External programs that tests drive (nbdkit, fio, qemu …): finding them, and what to do where one is missing.

import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import type { TestContext } from "node:test";

/** Debian keeps mkfs and modprobe in folders that are not in every user's PATH. */
const systemFolders = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/**
 * Finds a program the way a shell does.
 * @param tool The program's name without a folder.
 * @returns Its full path, or undefined where it is not installed.
 */
export function which(tool: string): string | undefined {
  const folders = (process.env.PATH ?? "").split(delimiter).filter((folder) => folder !== "");
  return [...folders, ...systemFolders].map((folder) => join(folder, tool)).find(isExecutable);
}

/**
 * Tells a test whether it can run: `if (!requireTool(t, "nbdinfo", "fio")) return;`. Where a program is missing the
 * test is marked as skipped; with CI=true it fails, because a machine that lacks its tools would otherwise look green.
 * @param t The context of the running test.
 * @param names The programs it needs.
 * @returns Whether all of them are there.
 */
export function requireTool(t: TestContext, ...names: string[]): boolean {
  const missing = names.filter((name) => which(name) === undefined);
  if (missing.length === 0) return true;
  const message = `not installed: ${missing.join(", ")}`;
  if (process.env.CI === "true") throw new Error(`${message} (with CI=true every tool must be there)`);
  t.skip(message);
  return false;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
