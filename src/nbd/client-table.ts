import { createHash } from "node:crypto";
import type { Peer } from "../os/index.ts";
import { type Bucket, bucketsOf, cellsOfLimits, type TrafficLimits } from "./throttle.ts";

/** What is kept of each client: a digest of who it is, and its buckets. */
const KEY = 0;
const BUCKETS = 1;
const CELLS = BUCKETS + cellsOfLimits;
const CELL_BYTES = 8;

/**
 * The clients of a server, in memory that its threads share. A client is a user of this machine, an IPv4 address, or an
 * IPv6 network of 64 bits, of which an owner has all addresses. One that has left is remembered until its place is
 * needed: coming back gives it no new credit.
 */
export class ClientTable {
  readonly buffer: SharedArrayBuffer;
  readonly #cells: BigInt64Array;
  readonly #size: number;

  constructor(from: number | SharedArrayBuffer) {
    this.buffer = typeof from === "number" ? new SharedArrayBuffer(from * CELLS * CELL_BYTES) : from;
    this.#cells = new BigInt64Array(this.buffer);
    this.#size = this.#cells.length / CELLS;
  }

  /**
   * The number of a client. One that is not known takes the place of the one that is quiet for longest, of those that
   * have no connection. Only the thread that accepts looks for them.
   *
   * @param connected clients that have connections
   * @returns 0 to one less than there are places; -1 when all have connections
   */
  find(peer: Peer | undefined, connected: ReadonlySet<number>): number {
    const key = keyOf(peer);
    const all = Array.from({ length: this.#size }, (_, client) => client);
    const known = all.find((client) => this.#cells[client * CELLS + KEY] === key);
    if (known !== undefined) return known;
    const [first, ...others] = all.filter((client) => !connected.has(client));
    if (first === undefined) return -1;
    const quietest = others.reduce(
      (best, client) => (this.#lastUse(client) < this.#lastUse(best) ? client : best),
      first,
    );
    this.#cells.fill(0n, quietest * CELLS, (quietest + 1) * CELLS);
    this.#cells[quietest * CELLS + KEY] = key;
    return quietest;
  }

  buckets(client: number, limits: TrafficLimits): { bytes: Bucket[]; requests: Bucket[] } {
    return bucketsOf(limits, this.#cells, client * CELLS + BUCKETS);
  }

  /** The later of the times at which its buckets are paid for. */
  #lastUse(client: number): bigint {
    const [bytes, requests] = this.#cells.subarray(client * CELLS + BUCKETS, (client + 1) * CELLS);
    return bytes > requests ? bytes : requests;
  }
}

function keyOf(peer: Peer | undefined): bigint {
  const text = peer === undefined ? "unknown" : "uid" in peer ? `uid ${peer.uid}` : peer.network;
  return createHash("sha256").update(text).digest().readBigInt64LE(0);
}
