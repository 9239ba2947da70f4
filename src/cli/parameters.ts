// Arguments and flags that several commands share, so that they are named and explained the same everywhere.

import type { TypedFlagParameter, TypedPositionalParameter } from "@stricli/core";
import { PerdureError, parseSize } from "../base/index.ts";
import type { TlsMode } from "../nbd/index.ts";

/** Two starts may fail by accident, three in a row do not. */
export const defaultQuarantineAfter = 3;

export const region: TypedPositionalParameter<string> = {
  brief: "File on tmpfs, ext4 or xfs, /dev/daxN.M, or descriptor fd:N",
  placeholder: "REGION",
  parse: somePath,
};

export const disk: TypedPositionalParameter<string> = { brief: "Name of the disk", placeholder: "NAME", parse: String };

/** A name in a command that has several. */
export const name = (placeholder: string, brief: string): TypedPositionalParameter<string> => ({
  brief,
  placeholder,
  parse: String,
});

/** One list, since what may be repeated stands alone. */
export const regionAndDisks: TypedPositionalParameter<string> = {
  brief: "A region, then disks of it (default: everything)",
  placeholder: "REGION DISK",
  parse: String,
};

/** A flag without a value. */
export const toggle = (brief: string): TypedFlagParameter<boolean | undefined> => ({
  kind: "boolean",
  brief,
  optional: true,
  withNegated: false,
});

export const json: TypedFlagParameter<boolean | undefined> = toggle("Print JSON; errors too");

/** A size that must be given. */
export const size = (brief: string): TypedFlagParameter<number> => ({
  kind: "parsed",
  parse: someBytes,
  placeholder: "SIZE",
  brief,
});

/** A size that may be given. */
export const optionalSize = (brief: string): TypedFlagParameter<number | undefined> => ({
  kind: "parsed",
  parse: someBytes,
  placeholder: "SIZE",
  brief,
  optional: true,
});

/** A limit that may be given: a size, or 0. */
export const optionalLimit = (brief: string): TypedFlagParameter<number | undefined> => ({
  kind: "parsed",
  parse: parseSize,
  placeholder: "SIZE",
  brief,
  optional: true,
});

/** A text that may be given. */
export const optionalText = (placeholder: string, brief: string): TypedFlagParameter<string | undefined> => ({
  kind: "parsed",
  parse: String,
  placeholder,
  brief,
  optional: true,
});

/** Flags of every command that opens or formats a memory. */
export interface PluginFlags {
  readonly plugin?: readonly string[];
}

export const plugin: TypedFlagParameter<readonly string[] | undefined> = {
  kind: "parsed",
  parse: String,
  placeholder: "FILE",
  brief: "Load a format from this ES module; may be repeated",
  variadic: true,
  optional: true,
};

export const pageSize: TypedFlagParameter<number | undefined> = optionalSize(
  "Page size of a new region, 512 to 2M (default 4K)",
);

export const thin: TypedFlagParameter<boolean | undefined> = toggle("Take memory as it is used, give it back");

/** How many threads serve. */
export const threads: TypedFlagParameter<number | undefined> = {
  kind: "parsed",
  parse: countOfThreads,
  placeholder: "N",
  brief: "Threads that serve, 0 for none (default: cores)",
  optional: true,
};

/** Whether clients encrypt. */
export const tls: TypedFlagParameter<TlsMode | undefined> = {
  kind: "parsed",
  parse: tlsMode,
  placeholder: "off|on|require",
  brief: "Whether clients encrypt: off, on (may) or require",
  optional: true,
};

/** After how many failed starts a region is put aside, or refused. */
export const quarantineAfter: TypedFlagParameter<number | undefined> = {
  kind: "parsed",
  parse: countOfStarts,
  placeholder: "N",
  brief: `Failed starts until quarantine, 0: off (default ${defaultQuarantineAfter})`,
  optional: true,
};

/** When a start is taken for healthy, in seconds. */
export const healthyAfter: TypedFlagParameter<number | undefined> = {
  kind: "parsed",
  parse: someSeconds,
  placeholder: "SECONDS",
  brief: "Seconds until a start is healthy (default 10)",
  optional: true,
};

// What is no UTF-8 reaches a program of Node as U+FFFD: another file than the one that was meant.
function somePath(text: string): string {
  if (text !== "" && !text.includes("\u{FFFD}")) return text;
  const what = text === "" ? "the path is empty" : "the path is no UTF-8";
  throw new PerdureError("EINVAL", what, { remedy: "name a file by a path in UTF-8, which may be a relative one" });
}

function countOfThreads(text: string): number {
  if (/^\d{1,9}$/.test(text) && Number(text) <= 63) return Number(text);
  throw new PerdureError("EINVAL", `"${text}" is no number of threads: write 0 to 63`);
}

function tlsMode(text: string): TlsMode {
  if (text === "off" || text === "on" || text === "require") return text;
  throw new PerdureError("EINVAL", `"${text}" is no mode of TLS: write off, on or require`);
}

function countOfStarts(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new PerdureError("EINVAL", `"${text}" is no number of starts: write 3, or 0 for never`);
}

/** Reads a time. @throws EINVAL */
export function someSeconds(text: string): number {
  const seconds = Number(text);
  if (/^\d{1,6}(?:\.\d{1,3})?$/.test(text) && seconds > 0) return seconds;
  throw new PerdureError("EINVAL", `"${text}" is no time in seconds: write 10 or 0.5`);
}

function someBytes(text: string): number {
  const bytes = parseSize(text);
  if (bytes > 0) return bytes;
  throw new PerdureError("EINVAL", "the size is 0", { remedy: "give it a size above 0, such as 512M" });
}
