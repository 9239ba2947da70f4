import { type ErrorCode, isPerdureError, PerdureError } from "../base/index.ts";
import { errnoOf, uninterrupted } from "../os/index.ts";

const NO_ROOM = "there is not enough room for it in its file system";
const NO_KIND = "it is of a kind that cannot keep a region";

/** Any other errno: what was asked did not happen, and nothing better can be said. */
const UNEXPECTED: readonly [ErrorCode, string] = ["EIO", "the system refused it"];

const NOT_OWNED =
  "give the file to this user with mode 0600 (chmod 600), or a folder where files are made and found with 0700";

/** What an errno means here: our code, what to say of the source, and what to do, if not what `REMEDIES` says. */
const MEANINGS: Readonly<Record<string, readonly [ErrorCode, string, string?]>> = {
  ELOOP: ["EACCES", "it is a symbolic link, and those are not followed", "name the file that the link leads to"],
  EPERM: ["EACCES", "this user may not open it", NOT_OWNED],
  EACCES: ["EACCES", "this user may not open it", NOT_OWNED],
  EROFS: ["EACCES", "its file system is read-only", "make that writable (mount -o remount,rw), or choose another path"],
  ENOENT: ["ENOENT", "there is no such file or folder"],
  ENOTDIR: ["ENOENT", "a part of the path is no folder"],
  EBADF: ["ENOENT", "no such descriptor is open"],
  ENAMETOOLONG: ["EINVAL", "the path is too long"],
  ERR_INVALID_ARG_VALUE: ["EINVAL", "this is no path"],
  EEXIST: ["EEXIST", "there is a file of that name already"],
  ENOSPC: ["ENOSPC", NO_ROOM],
  EDQUOT: ["ENOSPC", NO_ROOM],
  EFBIG: ["ENOSPC", NO_ROOM],
  ENOMEM: ["ENOSPC", "there is not enough memory for it"],
  EIO: ["EIO", "the device failed"],
  EMFILE: ["EBUSY", "this process has too many files open"],
  ENFILE: ["EBUSY", "the machine has too many files open"],
  EOPNOTSUPP: ["ENODEV", NO_KIND],
  // The same number, by the name that Node gives it.
  ENOTSUP: ["ENODEV", NO_KIND],
  EISDIR: ["ENODEV", "it is a folder"],
  ENXIO: ["ENODEV", NO_KIND],
  ENODEV: ["ENODEV", NO_KIND],
};

/** What to do, where the remedy of the table speaks of something else. */
const REMEDIES: Partial<Record<ErrorCode, string>> = {
  ENOENT: "check the path and its folder; `perdure format --size` makes a region, and so does an open with `create`",
  ENOSPC: "free memory or disk space, or ask for a smaller size",
  EINVAL: "check the path",
  EEXIST: "choose another path, or open what is there",
};

/**
 * Makes a system call, again when a signal interrupts it, and turns its errno into a code of our table, naming the
 * source.
 */
export function translated<T>(source: string, call: () => T): T {
  try {
    return uninterrupted(call);
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === undefined || error instanceof PerdureError) throw error;
    // What Node itself refuses has a code, too, and is a defect of ours.
    const meaning = MEANINGS[errno] ?? (errno.startsWith("ERR_") ? undefined : UNEXPECTED);
    if (meaning === undefined) throw error;
    const [code, text, remedy = REMEDIES[code]] = meaning;
    const options = remedy === undefined ? { cause: error } : { cause: error, remedy };
    throw new PerdureError(code, `${source}: ${text} (${errno})`, options);
  }
}

/** As `translated`, while a memory is in use: whatever stands in the way, its backing failed. @throws EIO */
export function translatedToEio<T>(source: string, call: () => T): T {
  try {
    return translated(source, call);
  } catch (error) {
    throw isPerdureError(error, "EIO") ? error : new PerdureError("EIO", (error as Error).message, { cause: error });
  }
}

/** What is told when a file system has too little room. */
export function noRoom(source: string): PerdureError {
  return new PerdureError("ENOSPC", `${source}: ${NO_ROOM}`, { remedy: REMEDIES.ENOSPC as string });
}
