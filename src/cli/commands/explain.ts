import { ERRORS, PerdureError } from "../../base/index.ts";
import { type PreflightOutcome, startReasons } from "../../region/index.ts";
import type { CliContext } from "../context.ts";
import { exitCodeTexts } from "../exit-code.ts";
import { print, printJson, wrap } from "../output.ts";

const WIDTH = 78;
/** A name that takes more changes than this is no slip of the hand. */
const MAX_SLIPS = 3;

/** What `serve` says of its start, and `preflight` of the next one. */
const starts: Readonly<Record<PreflightOutcome | "read-only", string>> = {
  warm: "the last owner closed the region: everything is there as it was left",
  recovered: "the last owner did not close the region: all that it had finished is there, what it had not is withdrawn",
  cold: "nothing usable was there: the region is new and empty",
  "in-use": "a process has the region open for writing: until it ends, a start for writing is refused (LOCKED)",
  quarantine: "starts failed too often in a row: with --create the region is put aside, else it is not opened",
  refused: "the region is not opened, for the error that stands beside the word",
  "read-only": "the region is served as it is, and nothing in it changes",
};

/** One code and what it means. */
export interface Explanation {
  readonly code: string;
  readonly kind: "error" | "start" | "start reason" | "exit code";
  readonly text: string;
  readonly remedy: string | undefined;
}

/** `perdure explain`: what a code means and what to do. */
export async function explain(context: CliContext, flags: { json?: boolean }, code: string): Promise<void> {
  const known = explanations();
  // CLOSED is an error and closed a reason: whoever asks is told of both.
  const found = known.filter((one) => one.code.toLowerCase() === code.toLowerCase());
  if (found.length === 0) throw unknownCode(code, known);
  const { stdout } = context.process;
  if (flags.json === true) return printJson(stdout, found);
  for (const { code: name, kind, text, remedy } of found) {
    print(stdout, ...wrap(`${name} (${kind}): ${text}`, WIDTH));
    if (remedy !== undefined) print(stdout, ...wrap(remedy, WIDTH - 2).map((line) => `  ${line}`));
  }
}

/** Every code that there is. */
export function explanations(): Explanation[] {
  const errors = Object.entries(ERRORS).map(([code, { text, remedy }]) => {
    return { code, kind: "error", text, remedy } as const;
  });
  const words = Object.entries(starts).map(([code, text]) => {
    return { code, kind: "start", text, remedy: undefined } as const;
  });
  const reasons = Object.entries(startReasons).map(([code, reason]) => {
    const text = `the start was ${reason.kind}, since ${reason.text}`;
    return { code, kind: "start reason", text, remedy: undefined } as const;
  });
  const exits = Object.entries(exitCodeTexts).map(([code, text]) => {
    return { code, kind: "exit code", text, remedy: undefined } as const;
  });
  return [...errors, ...words, ...reasons, ...exits];
}

function unknownCode(code: string, known: readonly Explanation[]): PerdureError {
  const near = known
    .map((one) => ({ code: one.code, slips: slipsBetween(code.toLowerCase(), one.code.toLowerCase()) }))
    .filter((one) => one.slips <= Math.min(MAX_SLIPS, one.code.length / 2))
    .toSorted((a, b) => a.slips - b.slips)
    .slice(0, 3)
    .map((one) => one.code);
  const kinds = "codes are those of docs/errors.md, starts (warm), reasons of a start (owner-died), and exit codes";
  return new PerdureError("EINVAL", `there is no code "${code}"`, {
    remedy: near.length === 0 ? kinds : `did you mean ${near.join(" or ")}?`,
  });
}

/** Letters to add, to leave out or to change to make one word of the other (Levenshtein 1965). */
function slipsBetween(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, k) => k);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const changed = row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(changed, row[j] + 1, next[j - 1] + 1));
    }
    row = next;
  }
  return row[b.length];
}
