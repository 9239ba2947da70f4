import { fstatSync, realpathSync, statSync } from "node:fs";
import { join } from "node:path";
import { maxSocketPathBytes } from "../nbd/limits.ts";

/** Where a memory is controlled. */
export interface ControlAddress {
  /**
   * What the memory is, whatever it is called: the numbers of its file, or those of its device. A client names it: the
   * file that a server has open may have been moved, and another one be in its place.
   */
  readonly key: string;
  /** Where the socket may be, the best place first. */
  readonly paths: readonly string[];
}

/**
 * Finds where a memory is controlled: beside it; for what has no folder of its own, or too long a name, in the folder
 * of this user for such things. It is the same for every spelling of a path.
 *
 * @returns undefined when nothing is there
 */
export function controlAddress(source: string, env: NodeJS.ProcessEnv): ControlAddress | undefined {
  const inherited = /^fd:(\d+)$/.exec(source);
  try {
    const stats = inherited === null ? statSync(source) : fstatSync(Number(inherited[1]));
    const key = stats.isCharacterDevice() ? `device-${stats.rdev}` : `${stats.dev}-${stats.ino}`;
    const hasFolder = inherited === null && stats.isFile();
    const runtime = env.XDG_RUNTIME_DIR || (process.geteuid?.() === 0 ? "/run" : undefined);
    const paths = [
      ...(hasFolder ? [`${realpathSync(source)}.control`] : []),
      ...(runtime === undefined ? [] : [join(runtime, "perdure", `${key}.control`)]),
    ];
    return { key, paths: paths.filter((path) => Buffer.byteLength(path) <= maxSocketPathBytes) };
  } catch {
    return undefined;
  }
}
