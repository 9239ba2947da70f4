/**
 * What is kept of each connection: who serves it, its descriptor, its client, the number of the export that it has
 * opened or 0; then, as doubles, its number and counters.
 */
const WORDS = 4;
const OWNER = 0;
const FD = 1;
const CLIENT = 2;
const EXPORT = 3;
const NUMBERS = 4;
const ID = 0;
const REQUESTS = 1;
const RECEIVED = 2;
const SENT = 3;
/** Bytes in front: a lock-free counter of connections that were ever accepted. */
const HEAD_BYTES = 8;

/** Who serves the connections that need the event loop. */
export const eventLoopOwner = 0x7fff_ffff;

/** What a connection has done so far. */
export interface ConnectionCounts {
  readonly requests: number;
  readonly bytesReceived: number;
  readonly bytesSent: number;
}

/** One connection, for people and metrics. */
export interface Connection extends ConnectionCounts {
  readonly id: number;
  /** The name of the export that the client opened. */
  readonly exportName: string | undefined;
}

/**
 * The connections of a server, in memory that its threads share: so one of them accepts and another one serves, their
 * number is bounded, and whoever is left can close what a thread that ended has left open.
 *
 * A place is free (owner 0), given to a thread that has not looked yet (minus its number), or served (its number).
 */
export class ConnectionTable {
  readonly buffer: SharedArrayBuffer;
  readonly #accepted: Int32Array;
  readonly #words: Int32Array;
  readonly #numbers: Float64Array;
  readonly #size: number;

  constructor(from: number | SharedArrayBuffer) {
    const placeBytes = 4 * WORDS + 8 * NUMBERS;
    this.buffer = typeof from === "number" ? new SharedArrayBuffer(HEAD_BYTES + from * placeBytes) : from;
    this.#size = (this.buffer.byteLength - HEAD_BYTES) / placeBytes;
    this.#accepted = new Int32Array(this.buffer, 0, 1);
    this.#words = new Int32Array(this.buffer, HEAD_BYTES, WORDS * this.#size);
    this.#numbers = new Float64Array(this.buffer, HEAD_BYTES + 4 * WORDS * this.#size, NUMBERS * this.#size);
  }

  /**
   * Gives a connection of a client to that of `threads` (from 1 on) which has fewest.
   *
   * @returns it; 0 when there is no room
   */
  give(fd: number, threads: readonly number[], client: number): number {
    const place = this.#free();
    if (place < 0) return 0;
    const counts = this.#countByOwner();
    const [least] = threads.toSorted((a, b) => (counts.get(a) ?? 0) - (counts.get(b) ?? 0));
    this.#words[place * WORDS + FD] = fd;
    this.#words[place * WORDS + CLIENT] = client;
    Atomics.store(this.#words, place * WORDS + EXPORT, 0);
    this.#numbers.fill(0, place * NUMBERS, (place + 1) * NUMBERS);
    this.#numbers[place * NUMBERS + ID] = Atomics.add(this.#accepted, 0, 1) + 1;
    Atomics.store(this.#words, place * WORDS + OWNER, -least);
    return least;
  }

  /** Takes over what a thread was given. @returns their places */
  take(thread: number): number[] {
    return this.places.filter(
      (place) => Atomics.compareExchange(this.#words, place * WORDS + OWNER, -thread, thread) === -thread,
    );
  }

  /** The places that a thread serves, or is to serve. */
  of(thread: number): number[] {
    return this.places.filter((place) => Math.abs(this.#owner(place)) === thread);
  }

  /** The places that are not free. */
  get places(): number[] {
    return Array.from({ length: this.#size }, (_, place) => place).filter((place) => this.#owner(place) !== 0);
  }

  clientOf(place: number): number {
    return this.#words[place * WORDS + CLIENT];
  }

  /** The clients that have connections. */
  clients(): Set<number> {
    return new Set(this.places.map((place) => this.clientOf(place)));
  }

  /** How many connections a client has. */
  connectionsOf(client: number): number {
    return this.places.filter((place) => this.clientOf(place) === client).length;
  }

  /**
   * Notes that a connection opens an export, by its number from 1 on, unless `most` connections have opened it.
   *
   * @returns false when it may not
   */
  open(place: number, exportNumber: number, most: number = Number.POSITIVE_INFINITY): boolean {
    const at = place * WORDS + EXPORT;
    Atomics.store(this.#words, at, exportNumber);
    // Its own word came first: of two that race for the last place both may be refused, but never both let in.
    const count = this.places.filter(
      (other) => Atomics.load(this.#words, other * WORDS + EXPORT) === exportNumber,
    ).length;
    if (count <= most) return true;
    Atomics.store(this.#words, at, 0);
    return false;
  }

  fd(place: number): number {
    return this.#words[place * WORDS + FD];
  }

  id(place: number): number {
    return this.#numbers[place * NUMBERS + ID];
  }

  counts(place: number): ConnectionCounts {
    const at = place * NUMBERS;
    return {
      requests: this.#numbers[at + REQUESTS],
      bytesReceived: this.#numbers[at + RECEIVED],
      bytesSent: this.#numbers[at + SENT],
    };
  }

  count(place: number, { requests, bytesReceived, bytesSent }: ConnectionCounts): void {
    const at = place * NUMBERS;
    this.#numbers[at + REQUESTS] = requests;
    this.#numbers[at + RECEIVED] = bytesReceived;
    this.#numbers[at + SENT] = bytesSent;
  }

  /** Gives a connection to the event loop. */
  move(place: number): void {
    Atomics.store(this.#words, place * WORDS + OWNER, eventLoopOwner);
  }

  /** The connection is closed. */
  leave(place: number): void {
    Atomics.store(this.#words, place * WORDS + OWNER, 0);
  }

  #owner(place: number): number {
    return Atomics.load(this.#words, place * WORDS + OWNER);
  }

  /** Only the thread that accepts looks for free places. */
  #free(): number {
    for (let place = 0; place < this.#size; place++) if (this.#owner(place) === 0) return place;
    return -1;
  }

  #countByOwner(): Map<number, number> {
    const counts = new Map<number, number>();
    for (const place of this.places) {
      const owner = Math.abs(this.#owner(place));
      counts.set(owner, (counts.get(owner) ?? 0) + 1);
    }
    return counts;
  }
}
