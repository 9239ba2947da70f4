import { type Peer, peerOf } from "../os/index.ts";
import { Access, type AllowList, nameOfPeer } from "./access.ts";
import { ClientTable } from "./client-table.ts";
import { type ConnectionCounts, ConnectionTable } from "./connection-table.ts";
import type { Export } from "./exports.ts";
import { complaintMs } from "./limits.ts";
import type { Log } from "./log.ts";
import { Throttle, type TrafficLimits } from "./throttle.ts";

/** What decides who may connect. It can be posted to another thread, which then decides the same. */
export interface AdmissionTerms {
  readonly connections: SharedArrayBuffer;
  readonly clients: SharedArrayBuffer;
  readonly allow: AllowList | undefined;
  /** For all connections of each client together. */
  readonly clientLimits: TrafficLimits;
}

/** Memory for the connections of a server, and for as many clients. */
export function makeTables(maxConnections: number): Pick<AdmissionTerms, "connections" | "clients"> {
  return { connections: new ConnectionTable(maxConnections).buffer, clients: new ClientTable(maxConnections).buffer };
}

/** Lets clients in, or refuses them before a word is said. */
export class Admission {
  readonly terms: AdmissionTerms;
  readonly table: ConnectionTable;
  readonly clients: ClientTable;
  readonly log: Log;
  readonly #access: Access;
  #complainedMs: number = Number.NEGATIVE_INFINITY;
  /** Refused since the last line of the log. */
  #untold = 0;

  /** @throws EINVAL for an allow-list that is none */
  constructor(terms: AdmissionTerms, log: Log) {
    this.terms = terms;
    this.table = new ConnectionTable(terms.connections);
    this.clients = new ClientTable(terms.clients);
    this.log = log;
    this.#access = new Access(terms.allow);
  }

  /** Gives a new connection to one of `threads`. @returns it; 0 when the connection is to be closed */
  admit(fd: number, threads: readonly number[]): number {
    const peer = peerOf(fd);
    const name = nameOfPeer(peer);
    if (!this.#access.allows(peer)) return this.#refuse(`${name} may not connect and was refused: see the allow-list`);
    const client = this.clients.find(peer, this.table.clients());
    const { maxConnections = Number.POSITIVE_INFINITY } = this.terms.clientLimits;
    if (this.table.connectionsOf(client) >= maxConnections) {
      return this.#refuse(
        `a connection of ${name} was refused: it has ${maxConnections}, as many as a client may have`,
      );
    }
    const thread = this.table.give(fd, threads, client);
    return thread === 0 ? this.#refuse("a connection was refused: there are as many as allowed") : thread;
  }

  /** A connection that was admitted, in the thread that serves it. */
  visit(place: number, fd: number): Visit {
    return new Visit(this, place, peerOf(fd));
  }

  /** Who knocks a thousand times a second must not fill the disk of the log. */
  #refuse(message: string): 0 {
    const now = performance.now();
    if (now < this.#complainedMs + complaintMs) {
      this.#untold++;
      return 0;
    }
    this.log.warn({}, this.#untold === 0 ? message : `${message}; ${this.#untold} more since the last one told of`);
    this.#complainedMs = now;
    this.#untold = 0;
    return 0;
  }
}

/** One connection, as allow-lists and limits see it. */
export class Visit {
  readonly #admission: Admission;
  readonly #place: number;
  readonly #peer: Peer | undefined;

  constructor(admission: Admission, place: number, peer: Peer | undefined) {
    this.#admission = admission;
    this.#place = place;
    this.#peer = peer;
  }

  /** Whether the client may know of an export. */
  maySee(entry: Export): boolean {
    return entry.access?.allows(this.#peer) ?? true;
  }

  /** Takes one of the connections that an export may have. @returns false, and says why, when the client may not */
  open(entry: Export): boolean {
    const { table, log } = this.#admission;
    const { name, number = 0, limits } = entry;
    if (!this.maySee(entry)) {
      log.warn(
        { export: name },
        `${nameOfPeer(this.#peer)} may not open "${name}" and was refused: see its allow-list`,
      );
      return false;
    }
    const { maxConnections } = limits ?? {};
    if (table.open(this.#place, number, maxConnections)) return true;
    log.warn(
      { export: name },
      `a connection to "${name}" was refused: it has ${maxConnections}, as many as it may have`,
    );
    return false;
  }

  /** What holds the connection to the limits of its client and of an export; undefined where there are none. */
  throttle({ buckets }: Export, meter: ConnectionCounts): Throttle | undefined {
    const { table, clients, terms } = this.#admission;
    const own = clients.buckets(table.clientOf(this.#place), terms.clientLimits);
    const bytes = [...own.bytes, ...(buckets?.bytes ?? [])];
    const requests = [...own.requests, ...(buckets?.requests ?? [])];
    return bytes.length + requests.length === 0 ? undefined : new Throttle({ bytes, requests }, meter);
  }
}
