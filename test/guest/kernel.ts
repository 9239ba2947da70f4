// The guest's kernel: Debian's package, fetched once and unpacked into the cache, never installed.

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from "node:fs";
import { basename, join } from "node:path";

/** The kernel for virtual machines: a third of the size of the general one, and it has every module that we need. */
const META_PACKAGE = "linux-image-cloud-amd64";

/** An unpacked kernel. */
export interface GuestKernel {
  /** What the boot loader starts. */
  readonly image: string;
  /** Paths of its modules by name. */
  readonly modules: ReadonlyMap<string, string>;
}

/**
 * Gives the kernel in the cache, fetching it when there is none; remove the cache to have the newest one.
 *
 * @throws Error when the package cannot be found, fetched or unpacked
 */
export function guestKernel(cacheFolder: string): GuestKernel {
  mkdirSync(cacheFolder, { recursive: true });
  const unpacked = readdirSync(cacheFolder).find((name) => name.startsWith("linux-image-")) ?? fetch(cacheFolder);
  const root = join(cacheFolder, unpacked);
  const image = readdirSync(join(root, "boot")).find((name) => name.startsWith("vmlinuz-"));
  if (image === undefined) throw new Error(`${root} holds no kernel: remove the folder and run the test again`);
  const modules = readdirSync(join(root, "lib/modules"), { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(".ko"))
    .map((path): [string, string] => [basename(path, ".ko"), join(root, "lib/modules", path)]);
  return { image: join(root, "boot", image), modules: new Map(modules) };
}

/** Unpacks aside and renames, so that a run that dies half-way leaves no kernel that looks whole. */
function fetch(cacheFolder: string): string {
  const name = newestPackage();
  const work = mkdtempSync(join(cacheFolder, "unpacking-"));
  try {
    console.log(`fetching ${name} with apt-get download, once, into ${cacheFolder}`);
    // Run by root, apt would fetch as a user who cannot write here, and complain; so root stays root.
    execFileSync("apt-get", ["-qq", "-o", "APT::Sandbox::User=root", "download", name], { cwd: work });
    const archive = readdirSync(work).find((file) => file.endsWith(".deb"));
    if (archive === undefined) throw new Error(`apt-get download ${name} left no package`);
    execFileSync("dpkg-deb", ["-x", archive, "root"], { cwd: work });
    renameSync(join(work, "root"), join(cacheFolder, name));
  } catch (error) {
    // Another test that fetched at the same time may have been first; its kernel is as good.
    if ((error as NodeJS.ErrnoException).code !== "ENOTEMPTY") throw error;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  return name;
}

/** The package that the meta package stands for today. */
function newestPackage(): string {
  const shown = execFileSync("apt-cache", ["depends", "--important", META_PACKAGE], { encoding: "utf8" });
  const name = /Depends: (linux-image-\S+)/.exec(shown)?.[1];
  if (name === undefined) throw new Error(`apt knows no ${META_PACKAGE}: run apt-get update`);
  return name;
}
