// File systems of their own for a test: a small tmpfs, or ext4 and xfs in a file. They need root and are gone after it.

import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { requireTool, which } from "./tools.ts";

/** xfs is not made smaller than this. */
const IMAGE_BYTES = 300 * 2 ** 20;

/** True for a user that may mount; else the test is skipped, with CI=true it fails. */
export function requireRoot(t: TestContext): boolean {
  if (process.geteuid?.() === 0) return true;
  if (process.env["CI"] === "true") throw new Error("CI=true runs as root, so that nothing is skipped");
  t.skip("needs root");
  return false;
}

/** A folder for a mount; what was mounted there is unmounted, and the folder removed, when the test is over. */
function mountFolder(t: TestContext): { point: string; image: string } {
  const folder = mkdtempSync(join(tmpdir(), "perdure-mount-"));
  const point = join(folder, "mounted");
  mkdirSync(point);
  t.after(() => {
    // Lazy, so that a test which failed with a file open is unmounted, too. Nothing was mounted when the mount failed.
    spawnSync("umount", ["--lazy", point]);
    rmSync(folder, { recursive: true });
  });
  return { point, image: join(folder, "image") };
}

/** Mounts a tmpfs of a few bytes. */
export function mountTmpfs(t: TestContext, sizeBytes: number): string {
  const { point } = mountFolder(t);
  execFileSync("mount", ["-t", "tmpfs", "-o", `size=${sizeBytes}`, "perdure-test", point], { stdio: "pipe" });
  return point;
}

/** Makes a file system in a file and mounts it; undefined, and the test is skipped, when that is not possible here. */
export function mountImage(t: TestContext, kind: "ext4" | "xfs"): string | undefined {
  if (!requireRoot(t) || !requireTool(t, `mkfs.${kind}`, "mount", "umount")) return undefined;
  const { point, image } = mountFolder(t);
  writeFileSync(image, "");
  truncateSync(image, IMAGE_BYTES);
  execFileSync(which(`mkfs.${kind}`) as string, ["-q", image], { stdio: "pipe" });
  execFileSync("mount", ["-o", "loop", image, point], { stdio: "pipe" });
  return point;
}
