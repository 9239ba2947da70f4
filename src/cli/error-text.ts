import { ArgumentParseError, ArgumentScannerError, formatMessageForArgumentScannerError } from "@stricli/core";
import { ERRORS, isPerdureError, PerdureError } from "../base/index.ts";
import { printable } from "./output.ts";

/** What a user is told about an error. */
interface ToldError {
  readonly code: string;
  readonly message: string;
  readonly remedy: string;
}

/** How errors are written: for people in two lines, with `--json` as one object a line. */
export interface ErrorStyle {
  readonly json: boolean;
  /** The framework has begun bold red; the remedy goes back to plain. */
  readonly color: boolean;
}

const PLAIN = "\u001B[39m\u001B[22m";

/** The text of an error, without a stack for those that Perdure throws on purpose. */
export function describeError(error: unknown, { json, color }: ErrorStyle): string {
  const told = toldError(error);
  if (json) return JSON.stringify({ error: told });
  // A stack has lines of its own; in everything else names of the media may stand.
  const message = told.code === "DEFECT" ? told.message : printable(told.message);
  return `perdure: ${told.code}: ${message}${color ? PLAIN : ""}\n  ${printable(told.remedy)}`;
}

/** What a misspelt command or flag is told as. */
export function usageError(message: string): PerdureError {
  return new PerdureError("EINVAL", message, { remedy: "add --help to see what can be written there" });
}

function toldError(error: unknown): ToldError {
  if (isPerdureError(error)) return { code: error.code, message: error.message, remedy: error.remedy };
  if (error instanceof ArgumentParseError && isPerdureError(error.exception)) {
    const { message, remedy } = error.exception;
    return { code: "EINVAL", message: `${nameOf(error)}: ${message}`, remedy };
  }
  if (error instanceof ArgumentScannerError) {
    return toldError(usageError(formatMessageForArgumentScannerError(error, {})));
  }
  if (isSystemError(error)) {
    const known = Object.entries(ERRORS).find(([code]) => code === error.code)?.[1];
    return { code: error.code, message: error.message, remedy: known?.remedy ?? "correct what the message says" };
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return {
    code: "DEFECT",
    message: text,
    remedy: "this is a defect of Perdure: please report it with the lines above",
  };
}

/** The world said no, in a way that the library has no words for. */
function isSystemError(error: unknown): error is Error & { code: string } {
  return error instanceof Error && "syscall" in error && "code" in error && typeof error.code === "string";
}

/** A positional argument goes by its placeholder, in capitals; everything else is a flag. */
function nameOf({ externalFlagNameOrPlaceholder: name }: ArgumentParseError): string {
  return name === name.toUpperCase() ? name : `--${name}`;
}
