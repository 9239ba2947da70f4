import { ExitCode } from "@stricli/core";
import { isPerdureError } from "../base/index.ts";

/** Every way in which the command can end; docs/cli.md says the same. */
export const exitCode = { success: 0, failure: 1, usage: 2, corruption: 3, interrupted: 130 } as const;

/** What each exit code means, for docs/cli.md and `perdure explain`. */
export const exitCodeTexts: Readonly<Record<number, string>> = {
  [exitCode.success]: "done",
  [exitCode.failure]: "it failed: an error of the table, printed on standard error",
  [exitCode.usage]: "wrong usage: an unknown command or flag, a missing argument, or one that is out of range (EINVAL)",
  [exitCode.corruption]: "corruption: `check` found it, or another command met it (CORRUPT)",
  [exitCode.interrupted]: "Ctrl-C stopped `format` or `check` (ABORTED); a file that was being made is gone",
};

/** The exit code for what a command threw or returned. */
export function exitCodeOf(error: unknown): number {
  if (isPerdureError(error, "EINVAL")) return exitCode.usage;
  // As shells number the end by SIGINT.
  if (isPerdureError(error, "ABORTED")) return exitCode.interrupted;
  if (isPerdureError(error, "CORRUPT") || isPerdureError(error, "DATA_CORRUPT")) return exitCode.corruption;
  return exitCode.failure;
}

/** The framework has negative codes of its own; ours are few and fit a byte. */
export function mapExitCode(code: number): number {
  if (code === ExitCode.InvalidArgument || code === ExitCode.UnknownCommand) return exitCode.usage;
  return code < 0 ? exitCode.failure : code;
}
