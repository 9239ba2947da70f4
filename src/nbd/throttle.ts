import { PerdureError } from "../base/index.ts";
import type { ConnectionCounts } from "./connection-table.ts";
import { burstMs, maxRestMs } from "./limits.ts";

/** What the clients of an export, or the connections of a client, may take together; left out is not limited. */
export interface TrafficLimits {
  /** Connections at a time. */
  readonly maxConnections?: number;
  /** Bytes in both directions, those of headers included. */
  readonly bytesPerSecond?: number;
  /** Requests of every kind. */
  readonly requestsPerSecond?: number;
}

/** @throws EINVAL for a limit that is no whole number from 1 on */
export function checkTrafficLimits(limits: TrafficLimits | undefined): void {
  for (const [name, value] of Object.entries(limits ?? {})) {
    if (value === undefined || (Number.isSafeInteger(value) && value > 0)) continue;
    throw new PerdureError("EINVAL", `${name} is ${value}`, {
      remedy: `give ${name} a whole number from 1 on, or leave it out`,
    });
  }
}

const nsPerMs = 1e6;
const nsPerSecond = 1e9;
const burstNs = BigInt(burstMs * nsPerMs);

/** Where a bucket keeps its state: in memory that threads share. */
export interface BucketCell {
  readonly cells: BigInt64Array;
  readonly at: number;
}

/**
 * A token bucket that threads share. Its one word is the time, in ns of the machine's monotonic clock, at which all
 * that was taken is paid for: a time that has passed means credit, of at most `burstMs`.
 */
export class Bucket {
  readonly #cell: BucketCell;
  readonly #nsPerUnit: number;

  constructor(cell: BucketCell, unitsPerSecond: number) {
    this.#cell = cell;
    this.#nsPerUnit = nsPerSecond / unitsPerSecond;
  }

  /** Takes what was used already. @returns after how many ms it is paid for; 0 while there is credit */
  take(units: number): number {
    const { cells, at } = this.#cell;
    const cost = BigInt(Math.ceil(units * this.#nsPerUnit));
    for (;;) {
      const now = process.hrtime.bigint();
      const before = Atomics.load(cells, at);
      const oldest = now - burstNs;
      const after = (before > oldest ? before : oldest) + cost;
      if (Atomics.compareExchange(cells, at, before, after) !== before) continue;
      return Math.min(maxRestMs, Math.max(0, Number(after - now) / nsPerMs));
    }
  }
}

/** The buckets that something has of its own: two cells, one for bytes and one for requests. */
export const cellsOfLimits = 2;

/** The buckets that limits ask for, on `cellsOfLimits` cells from `at` on. */
export function bucketsOf(
  limits: TrafficLimits | undefined,
  cells: BigInt64Array,
  at: number,
): { bytes: Bucket[]; requests: Bucket[] } {
  const { bytesPerSecond, requestsPerSecond } = limits ?? {};
  return {
    bytes: bytesPerSecond === undefined ? [] : [new Bucket({ cells, at }, bytesPerSecond)],
    requests: requestsPerSecond === undefined ? [] : [new Bucket({ cells, at: at + 1 }, requestsPerSecond)],
  };
}

/**
 * Holds a connection to the limits that it shares with others. It is asked after some work and not before each request:
 * what was done is paid for by resting. So connections of one bucket take turns, in the order in which they asked, and
 * none waits for what others do while it rests.
 */
export class Throttle {
  readonly #bytes: readonly Bucket[];
  readonly #requests: readonly Bucket[];
  readonly #meter: ConnectionCounts;
  #paidBytes = 0;
  #paidRequests = 0;
  #isLifted = false;

  constructor(buckets: { bytes: readonly Bucket[]; requests: readonly Bucket[] }, meter: ConnectionCounts) {
    this.#bytes = buckets.bytes;
    this.#requests = buckets.requests;
    this.#meter = meter;
  }

  /** Pays for what was moved since the last time. @returns how long to rest, in ms */
  settle(): number {
    const { bytesReceived, bytesSent, requests } = this.#meter;
    const bytes = bytesReceived + bytesSent - this.#paidBytes;
    const begun = requests - this.#paidRequests;
    // Who has had nothing since the last rest has a turn before the next one, whatever the others take.
    if (this.#isLifted || (bytes === 0 && begun === 0)) return 0;
    this.#paidBytes += bytes;
    this.#paidRequests += begun;
    let restMs = 0;
    for (const bucket of this.#bytes) restMs = Math.max(restMs, bucket.take(bytes));
    for (const bucket of this.#requests) restMs = Math.max(restMs, bucket.take(begun));
    return restMs;
  }

  /** No more rests: the connection is to end, and somebody waits for that. */
  lift(): void {
    this.#isLifted = true;
  }
}
