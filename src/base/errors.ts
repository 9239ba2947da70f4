/**
 * The one table of errors: code, what it means, what to do. `docs/errors.md` is generated from it and a test
 * provokes every row.
 */
export const ERRORS = {
  EACCES: {
    text: "the file may not be used: its owner, mode or type is not what Perdure accepts",
    remedy: "give the file to this user (chown) with mode 0600 (chmod 600); a program may open it with `trustFile`",
  },
  EBUSY: {
    text: "something in use stands in the way",
    remedy: "release the pages, close the instance or disconnect the clients that hold it, then try again",
  },
  EDQUOT: {
    text: "the instance has as many pages as its quota allows",
    remedy: "trim what is not needed, or raise its quota",
  },
  EEXIST: {
    text: "the name is taken",
    remedy: "choose another name, or open the existing one without asking to create it",
  },
  EINVAL: {
    text: "an argument is out of its range or of the wrong form",
    remedy: "correct the argument as the message says",
  },
  EIO: {
    text: "the backing memory failed to store or to give back data",
    remedy: "look at the kernel log for the device, then open the region again: opening recovers it",
  },
  ENAMETOOLONG: {
    text: "a name is longer than the format holds",
    remedy: "use at most 255 bytes for a name and 31 bytes for a subsystem",
  },
  ENODATA: {
    text: "there is no page at that index",
    remedy: "create it with ensure(), or ask for an index that has() knows",
  },
  ENODEV: {
    text: "the backing is of a kind that cannot keep a region",
    remedy: "use a file on tmpfs, ext4 or xfs, or an inherited memfd (fd:N)",
  },
  ENOENT: {
    text: "there is nothing of that name",
    remedy: "list what there is with `perdure ls`, or pass the option that creates it",
  },
  ENOSPC: {
    text: "no free pages (or no room in the backing) for what was asked",
    remedy: "delete or trim what is not needed, or make a larger region; overwriting what exists still works",
  },
  ABORTED: {
    text: "the work was stopped on request, by an AbortSignal or Ctrl-C",
    remedy: "start it again when it is wanted: nothing was changed, or the next open puts it right",
  },
  CLOSED: {
    text: "the handle was closed",
    remedy: "open the region again",
  },
  CORRUPT: {
    text: "the media hold what no crash leaves behind",
    remedy: "run `perdure check` to see every finding; keep a copy of the memory before changing anything",
  },
  DATA_CORRUPT: {
    text: "the content of a page is not what was stored: its checksum is wrong",
    remedy: "run `perdure scrub` to see every damaged page; storing the whole page anew heals it",
  },
  FOREIGN_DATA: {
    text: "the memory holds somebody else's data",
    remedy:
      "check the path; `perdure check` tells if it is a damaged region; --force formats it, and destroys what it holds",
  },
  LOCKED: {
    text: "another process has the region open for writing",
    remedy: "stop the process that the message names, or open the region read-only",
  },
  MEMORY_LOST: {
    text: "the memory behind the region went away while it was in use: its file was made shorter, or the memory failed",
    remedy: "close the region, find out who truncates its file (or see the kernel log), and bring back a copy of it",
  },
  PLUGIN: {
    text: "a plug-in could not be loaded, or its code failed",
    remedy: "correct the plug-in as the message says, or tell its author; docs/formats.md says what one must be",
  },
  POISONED: {
    text: "an operation failed half-way, so this handle takes no further one",
    remedy: "close the handle and open the region again: opening recovers it",
  },
  QUARANTINED: {
    text: "starts failed in a row, so the region is not opened once more",
    remedy: "find out what ends the program; open the region with quarantineAfter 0 to use it as it is",
  },
  READ_ONLY: {
    text: "the region was opened read-only, or the instance is a snapshot",
    remedy: "open the region for writing; of a snapshot make a clone and write to that",
  },
  SCHEMA_MISMATCH: {
    text: "the instance was written by a program with another schema number",
    remedy: "open it with the schema it was written with, or delete and create it anew",
  },
  UNFORMATTED: {
    text: "the memory is blank, or was being formatted when that was cut off",
    remedy: "format it with `perdure format`, or open it with `create`",
  },
  UNKNOWN_FORMAT: {
    text: "no registered format has the type number that the superblock names",
    remedy: "register the format (on the command line: --plugin FILE) or upgrade Perdure, then open the memory again",
  },
  UNSUPPORTED_VERSION: {
    text: "the memory was written by a version or with features that this program does not know",
    remedy: "open it with the version of Perdure that the message names; an older one is raised by `perdure upgrade`",
  },
} as const;

/** A code of the error table. */
export type ErrorCode = keyof typeof ERRORS;

/** Every error that Perdure throws on purpose: a code of the table, what happened, and what to do about it. */
export class PerdureError extends Error {
  override readonly name: string = "PerdureError";
  /** A code of the error table; those that start with E are errno names. */
  readonly code: ErrorCode;
  /** One sentence that says what to do next. */
  readonly remedy: string;

  constructor(code: ErrorCode, message: string, options: { remedy?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.remedy = options.remedy ?? ERRORS[code].remedy;
  }
}

/** True when `error` is one of ours and, if `code` is given, of that code. */
export function isPerdureError(error: unknown, code?: ErrorCode): error is PerdureError {
  return error instanceof PerdureError && (code === undefined || error.code === code);
}

/** States what must hold; a failure is a defect of Perdure, never of its input. Always on. */
export function assert(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(`assertion failed: ${what}`);
}
