import { PerdureError } from "../base/index.ts";
import { formatTypeOf, superblockHead } from "../format/index.ts";
import type { Memory } from "../memory/index.ts";
import { readDual } from "./dual-record.ts";
import { readGeometry } from "./geometry.ts";
import { formatType, stateLayout, stateSlots } from "./layout.ts";

/** Who lives so long has started well: what ends a program at its start does so sooner. */
const HEALTHY_AFTER_MS = 10_000;
/** What a timer takes; it fires at once for anything above. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** The part of the options of an open that protects against a program that dies at every start. */
export interface ProtectionOptions {
  readonly quarantineAfter?: number;
  readonly healthyAfterMs?: number;
}

/** @throws EINVAL */
export function validateProtection({
  quarantineAfter = 0,
  healthyAfterMs = HEALTHY_AFTER_MS,
}: ProtectionOptions): void {
  if (!Number.isInteger(quarantineAfter) || quarantineAfter < 0) {
    throw new PerdureError(
      "EINVAL",
      `quarantineAfter is a whole number of starts, 0 for never, not ${quarantineAfter}`,
    );
  }
  if (!(healthyAfterMs > 0) || healthyAfterMs > MAX_TIMER_MS) {
    throw new PerdureError("EINVAL", `healthyAfterMs is above 0 and at most ${MAX_TIMER_MS}, not ${healthyAfterMs}`);
  }
}

/** Takes a start for healthy when it has lived long enough. Keeps no process alive. */
export class HealthTimer {
  readonly #timer: NodeJS.Timeout;

  constructor(sayHealthy: () => void, { healthyAfterMs = HEALTHY_AFTER_MS }: ProtectionOptions) {
    this.#timer = setTimeout(() => {
      try {
        sayHealthy();
      } catch {
        // Nobody called, so nobody can be told here: the region is poisoned, and says so to whoever uses it next.
      }
    }, healthyAfterMs);
    this.#timer.unref();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}

/**
 * How many starts in a row have failed so far: opened, and neither closed nor healthy. Stores nothing.
 *
 * @returns 0 for what is no region, or one whose state cannot be read: opening it says so
 * @throws CORRUPT or UNSUPPORTED_VERSION when the superblock cannot be understood
 */
export function failedStartsOf(memory: Memory): number {
  if (formatTypeOf(memory.read(0, superblockHead.sizeBytes)) !== formatType) return 0;
  readGeometry(memory);
  const a = memory.read(stateSlots.a, stateLayout.sizeBytes);
  const b = memory.read(stateSlots.b, stateLayout.sizeBytes);
  const dual = readDual(stateLayout, stateSlots, a, b);
  return dual.kind === "valid" ? stateLayout.decode(dual.bytes).failedStarts : 0;
}
