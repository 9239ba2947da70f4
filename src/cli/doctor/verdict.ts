import type { Host } from "./host.ts";
import type { Subject } from "./subject.ts";

/** How something is: fine, worth knowing, or in the way of a region. */
export type Level = "ok" | "warn" | "fail";

/** What the doctor says about one thing. */
export interface Verdict {
  readonly check: string;
  readonly level: Level;
  /** What is, and what comes of it. */
  readonly text: string;
  /** What to do about it. */
  readonly remedy: string | undefined;
}

/** One thing that the doctor looks at. */
export type Check = (host: Host, subject: Subject) => Verdict;

export const ok = (check: string, text: string): Verdict => ({ check, level: "ok", text, remedy: undefined });
export const warn = (check: string, text: string, remedy: string): Verdict => ({ check, level: "warn", text, remedy });
export const fail = (check: string, text: string, remedy: string): Verdict => ({ check, level: "fail", text, remedy });

/** A number of /proc/meminfo in bytes; undefined where the kernel does not tell it. */
export function meminfo(host: Host, field: string): number | undefined {
  const found = new RegExp(`^${field}:\\s*(\\d+)( kB)?$`, "m").exec(host.read("/proc/meminfo") ?? "");
  return found === null ? undefined : Number(found[1]) * (found[2] === undefined ? 1 : 1024);
}
