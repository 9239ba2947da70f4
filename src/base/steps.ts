import { setImmediate as nextTurn } from "node:timers/promises";
import { PerdureError } from "./errors.ts";

/** How far a long piece of work is. */
export interface Progress {
  readonly what: "reserving memory" | "looking for data" | "reading the frame table" | "wiping";
  readonly doneBytes: number;
  readonly totalBytes: number;
}

/** What can be asked of a long piece of work. */
export interface LongOptions {
  /** Stops it: it throws ABORTED, and what was begun is undone, or is what a crash leaves. */
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: Progress) => void;
}

/**
 * Work that is done a step at a time, so that somebody else may have his turn in between. Whoever drops it half-way
 * calls `return`: its `finally` blocks let go what it holds.
 */
export type Steps<T> = Generator<Progress, T, undefined>;

/** The event loop has its turn at least this often. */
const TURN_MS = 10;

/** Does all steps without a pause. */
export function atOnce<T>(steps: Steps<T>): T {
  for (;;) {
    const next = steps.next();
    if (next.done === true) return next.value;
  }
}

/** Does the steps with pauses, in which timers, sockets and signals have their turn. @throws ABORTED */
export async function inTurns<T>(steps: Steps<T>, { signal, onProgress }: LongOptions = {}): Promise<T> {
  let began = performance.now();
  try {
    for (;;) {
      refuseAborted(signal);
      const next = steps.next();
      if (next.done === true) return next.value;
      onProgress?.(next.value);
      if (performance.now() - began < TURN_MS) continue;
      await nextTurn();
      began = performance.now();
    }
  } finally {
    steps.return(undefined as never);
  }
}

/** @throws ABORTED */
function refuseAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw new PerdureError("ABORTED", "stopped on request", { cause: signal.reason });
}
