// Arguments and flags that several commands share, so that they are named and explained the same everywhere.

import type { TypedFlagParameter, TypedPositionalParameter } from "@stricli/core";
import { PerdureError, parseSize } from "../base/index.ts";

export const region: TypedPositionalParameter<string> = {
  brief: "File on tmpfs, ext4 or xfs, /dev/daxN.M, or descriptor fd:N",
  placeholder: "REGION",
  parse: String,
};

export const disk: TypedPositionalParameter<string> = { brief: "Name of the disk", placeholder: "NAME", parse: String };

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
  "Page size of a new region, 512 to 2M (default 4096)",
);

export const thin: TypedFlagParameter<boolean | undefined> = toggle(
  "Take memory for a new region as it is used, and give it back",
);

function someBytes(text: string): number {
  const bytes = parseSize(text);
  if (bytes > 0) return bytes;
  throw new PerdureError("EINVAL", "the size is 0", { remedy: "give it a size above 0, such as 512M" });
}
