import { accessSync, constants, existsSync, lstatSync, mkdirSync, type Stats, statfsSync } from "node:fs";
import { join, resolve } from "node:path";
import { formatSize, PerdureError } from "../base/index.ts";

/** `<linux/magic.h>`: what statfs(2) says of a tmpfs. */
const TMPFS_MAGIC = 0x01021994;
const PRIVATE_MODE = 0o700;
const OTHERS_MAY_WRITE = 0o022;

/** A place where the default region may live. */
interface Candidate {
  /** Who names it: a flag, a variable of the environment, or us. */
  readonly from: string;
  /** Must be there. */
  readonly parent: string;
  /** Made when it is not there; only this user may enter it. */
  readonly folder: string;
  /** The user asked for it: it is taken or refused, and nothing else is tried. */
  readonly asked: boolean;
}

/** The folder that was chosen, and why the others before it were not. */
export interface DefaultFolder {
  readonly folder: string;
  readonly from: string;
  readonly refused: readonly string[];
}

/** What the choice depends on. */
export interface FolderWish {
  /** The value of --dir. */
  readonly dir: string | undefined;
  readonly env: NodeJS.ProcessEnv;
  /** Name of the region's file: where it is already, its folder needs no room. */
  readonly file: string;
  /** Room that a new region takes. */
  readonly roomBytes: number;
}

/**
 * Chooses the folder of the default region and makes it: the one that was asked for, else the first that holds a
 * region already, else the first that has room.
 *
 * @throws EINVAL, ENOENT, EACCES, ENOSPC for a folder that was asked for; ENOSPC when there is none
 */
export function chooseFolder(wish: FolderWish): DefaultFolder {
  const places = candidates(wish);
  const asked = places.find((place) => place.asked);
  if (asked !== undefined) {
    const problem = problemOf(asked, wish);
    if (problem !== undefined) throw problem;
    return take(asked, []);
  }
  const judged = places.map((place) => ({ place, problem: problemOf(place, wish) }));
  const usable = judged.filter(({ problem }) => problem === undefined).map(({ place }) => place);
  const chosen = usable.find(({ folder }) => existsSync(join(folder, wish.file))) ?? usable[0];
  const refused = judged.flatMap(({ place, problem }) =>
    problem === undefined ? [] : [`${place.from}: ${problem.message}`],
  );
  if (chosen === undefined) throw noPlace(refused, wish.roomBytes);
  return take(chosen, refused);
}

function candidates({ dir, env }: FolderWish): Candidate[] {
  const user = process.geteuid?.() ?? 0;
  const below = (from: string, parent: string | undefined, asked: boolean): Candidate[] =>
    parent === undefined || parent === ""
      ? []
      : [{ from, parent: resolve(parent), folder: join(resolve(parent), "perdure"), asked }];
  return [
    ...below("--dir", dir, true),
    ...below("PERDURE_DIR", env.PERDURE_DIR, true),
    ...below("XDG_RUNTIME_DIR", env.XDG_RUNTIME_DIR, false),
    { from: "shared memory", parent: "/dev/shm", folder: `/dev/shm/perdure-${user}`, asked: false },
  ];
}

function problemOf({ parent, folder, asked }: Candidate, { file, roomBytes }: FolderWish): PerdureError | undefined {
  if (statsOf(parent)?.isDirectory() !== true) {
    const remedy = "name a folder that is there, or make it first (mkdir -p)";
    return new PerdureError("ENOENT", `${parent} is no folder`, { remedy });
  }
  const stats = statsOf(folder);
  if (stats !== undefined && !isPrivate(stats)) {
    return new PerdureError("EACCES", `${folder} is no folder of this user alone`, {
      remedy: `give it to this user with mode 0700 (chmod 700 ${folder}), or choose another place with --dir`,
    });
  }
  if (!isWritable(stats === undefined ? parent : folder)) {
    return new PerdureError("EACCES", `${parent} may not be written by this user`);
  }
  const { type, bavail, bsize } = statfsSync(parent);
  if (!asked && type !== TMPFS_MAGIC) return new PerdureError("ENODEV", `${parent} is no tmpfs`);
  const free = bavail * bsize;
  if (free >= roomBytes || existsSync(join(folder, file))) return undefined;
  return new PerdureError("ENOSPC", `${parent} has ${formatSize(free)} free, ${formatSize(roomBytes)} are needed`, {
    remedy: howToMount(roomBytes),
  });
}

function statsOf(path: string): Stats | undefined {
  try {
    return lstatSync(path);
  } catch {
    return undefined;
  }
}

function isWritable(path: string): boolean {
  try {
    accessSync(path, constants.W_OK | constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function isPrivate(stats: Stats): boolean {
  return stats.isDirectory() && stats.uid === process.geteuid?.() && (stats.mode & OTHERS_MAY_WRITE) === 0;
}

function take({ folder, from }: Candidate, refused: readonly string[]): DefaultFolder {
  mkdirSync(folder, { recursive: true, mode: PRIVATE_MODE });
  return { folder, from, refused };
}

function noPlace(refused: readonly string[], roomBytes: number): PerdureError {
  const reasons = refused.map((reason) => `\n  ${reason}`).join("");
  return new PerdureError("ENOSPC", `no place for the default region${reasons}`, { remedy: howToMount(roomBytes) });
}

/** Lines that make a place, to be pasted into a shell. */
function howToMount(roomBytes: number): string {
  const user = process.geteuid?.() ?? 0;
  const sudo = user === 0 ? "" : "sudo ";
  const size = `${Math.ceil(roomBytes / 2 ** 30)}G`;
  return [
    "make a place with these lines, then start again:",
    `  ${sudo}mkdir -p /mnt/perdure`,
    `  ${sudo}mount -t tmpfs -o size=${size},mode=700,uid=${user} perdure /mnt/perdure`,
    "  export PERDURE_DIR=/mnt/perdure",
  ].join("\n  ");
}
