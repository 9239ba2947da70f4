import { dirname, resolve } from "node:path";
import type { Host } from "./host.ts";

/** One line of /proc/self/mounts. */
export interface Mount {
  readonly folder: string;
  readonly type: string;
  readonly options: readonly string[];
}

/** Where the region is, or would be. */
export interface Subject {
  /** The region, or the folder where regions go by default. */
  readonly path: string;
  readonly mount: Mount | undefined;
  /** Size of a region that is there. */
  readonly sizeBytes: number | undefined;
  /** Kept in memory that belongs to the machine's shared memory: a tmpfs, or a memfd. */
  readonly isShared: boolean;
}

const DEFAULT_FOLDER = "/dev/shm";

/** Finds out where a region lies; without one, the place that is taken by default. */
export function subjectOf(host: Host, region: string | undefined): Subject {
  const inherited = /^fd:(\d+)$/.exec(region ?? "");
  if (inherited !== null) {
    const sizeBytes = host.sizeOf(`/proc/self/fd/${inherited[1]}`);
    return { path: region ?? "", mount: undefined, sizeBytes, isShared: true };
  }
  const path = resolve(region ?? DEFAULT_FOLDER);
  const mount = mountOf(host, path);
  const sizeBytes = region === undefined ? undefined : host.sizeOf(path);
  return { path, mount, sizeBytes, isShared: mount?.type === "tmpfs" };
}

/** The folder whose file system a region takes its room from. */
export function folderOf(host: Host, { path }: Subject): string {
  return path === DEFAULT_FOLDER || host.exists(path) ? path : dirname(path);
}

/** The mount that a path lies on: of those with the longest folder the last, which hides the others. */
function mountOf(host: Host, path: string): Mount | undefined {
  const lines = (host.read("/proc/self/mounts") ?? "").split("\n").filter((line) => line !== "");
  let found: Mount | undefined;
  for (const line of lines) {
    const [, folder, type, options] = line.split(" ").map(unescaped);
    const isAbove = folder === "/" || path === folder || path.startsWith(`${folder}/`);
    if (!isAbove || folder.length < (found?.folder.length ?? 0)) continue;
    found = { folder, type, options: options.split(",") };
  }
  return found;
}

/** proc_mounts(5) writes blanks as three octal digits. */
function unescaped(text: string): string {
  return text.replaceAll(/\\(\d{3})/g, (_whole, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}
