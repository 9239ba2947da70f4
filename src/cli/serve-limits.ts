// The flags of `serve` that say who may have how much of what: one for the server, for each client, or for one disk.

import type { TypedFlagParameter } from "@stricli/core";
import { PerdureError, parseSize } from "../base/index.ts";
import type { ExportOptions, NbdServerOptions, TrafficLimits } from "../nbd/index.ts";

/** What is said about one disk. */
interface OfDisk<Value> {
  readonly name: string;
  readonly value: Value;
}

/** The flags as they were given. */
export interface LimitFlags {
  readonly allowUid?: readonly number[];
  readonly allowFrom?: readonly string[];
  readonly maxConnections?: number;
  readonly clientConnections?: number;
  readonly clientRate?: number;
  readonly clientIops?: number;
  readonly diskReadOnly?: readonly string[];
  readonly diskConnections?: readonly OfDisk<number>[];
  readonly diskRate?: readonly OfDisk<number>[];
  readonly diskIops?: readonly OfDisk<number>[];
}

/** As the command line names and explains them. */
export const limitFlags: {
  readonly [Name in keyof LimitFlags]-?: TypedFlagParameter<LimitFlags[Name]>;
} = {
  allowUid: repeated("UID", "Let this user in; may be repeated", count(0)),
  allowFrom: repeated("CIDR", "Let this address or network in; may be repeated", String),
  maxConnections: optional("N", "Connections at a time (default 100)", count(1)),
  clientConnections: optional("N", "Connections of one user or address", count(1)),
  clientRate: optional("SIZE", "Bytes a second of one user or address", someBytes),
  clientIops: optional("N", "Requests a second of one user or address", count(1)),
  diskReadOnly: repeated("NAME", "Serve this disk read-only; may be repeated", String),
  diskConnections: repeated("NAME=N", "Connections to a disk; may be repeated", ofDisk(count(1))),
  diskRate: repeated("NAME=SIZE", "Bytes a second of a disk; may be repeated", ofDisk(someBytes)),
  diskIops: repeated("NAME=N", "Requests a second of a disk; may be repeated", ofDisk(count(1))),
};

/** What they say about the server as a whole. */
export function serverLimits(flags: LimitFlags): Pick<NbdServerOptions, "allow" | "clientLimits" | "maxConnections"> {
  const { allowUid: uids, allowFrom: addresses, maxConnections, clientConnections, clientRate, clientIops } = flags;
  const allow = given({ uids, addresses });
  const clientLimits: TrafficLimits = given({
    maxConnections: clientConnections,
    bytesPerSecond: clientRate,
    requestsPerSecond: clientIops,
  });
  return given({ allow: Object.keys(allow).length > 0 ? allow : undefined, clientLimits, maxConnections });
}

/** What they say about disks, by name. */
export function diskLimits(flags: LimitFlags): ReadonlyMap<string, ExportOptions> {
  const { diskReadOnly = [], diskConnections = [], diskRate = [], diskIops = [] } = flags;
  const names = [...diskReadOnly, ...[...diskConnections, ...diskRate, ...diskIops].map(({ name }) => name)];
  return new Map(
    names.map((name) => {
      // Of a flag that is given twice for one disk, the last one counts.
      const of = (all: readonly OfDisk<number>[]): number | undefined =>
        all.findLast((said) => said.name === name)?.value;
      const [maxConnections, bytesPerSecond, requestsPerSecond] = [diskConnections, diskRate, diskIops].map(of);
      const limits: TrafficLimits = given({ maxConnections, bytesPerSecond, requestsPerSecond });
      return [name, { readOnly: diskReadOnly.includes(name), limits }];
    }),
  );
}

/** Without what was left out. */
function given<Values extends object>(values: Values): { [Name in keyof Values]: Exclude<Values[Name], undefined> } {
  const entries = Object.entries(values).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [Name in keyof Values]: Exclude<Values[Name], undefined> };
}

function optional<Value>(
  placeholder: string,
  brief: string,
  parse: (text: string) => Value,
): TypedFlagParameter<Value | undefined> {
  return { kind: "parsed", parse, placeholder, brief, optional: true } as TypedFlagParameter<Value | undefined>;
}

function repeated<Value>(
  placeholder: string,
  brief: string,
  parse: (text: string) => Value,
): TypedFlagParameter<readonly Value[] | undefined> {
  const flag = { kind: "parsed", parse, placeholder, brief, variadic: true, optional: true };
  return flag as TypedFlagParameter<readonly Value[] | undefined>;
}

function count(least: number): (text: string) => number {
  return (text) => {
    if (/^\d{1,10}$/.test(text) && Number(text) >= least) return Number(text);
    throw new PerdureError("EINVAL", `"${text}" is no number: write a whole one from ${least} on`);
  };
}

function someBytes(text: string): number {
  const bytes = parseSize(text);
  if (bytes > 0) return bytes;
  throw new PerdureError("EINVAL", "nothing a second is no limit", { remedy: "give a size above 0, such as 100M" });
}

function ofDisk<Value>(parse: (text: string) => Value): (text: string) => OfDisk<Value> {
  return (text) => {
    const at = text.lastIndexOf("=");
    if (at > 0) return { name: text.slice(0, at), value: parse(text.slice(at + 1)) };
    throw new PerdureError("EINVAL", `"${text}" does not say which disk: write NAME=LIMIT, like pram0=100M`);
  };
}
