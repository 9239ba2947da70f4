import { createServer, Socket } from "node:net";
import { availableParallelism } from "node:os";
import { isMainThread } from "node:worker_threads";
import { PerdureError } from "../base/index.ts";
import type { BlockDevice } from "../device/index.ts";
import type { AllowList } from "./access.ts";
import { Admission, makeTables } from "./admission.ts";
import { eventLoopClock } from "./clock.ts";
import { type Connection, eventLoopOwner } from "./connection-table.ts";
import { dismiss } from "./dismiss.ts";
import { type ExportOptions, ExportTable, type ExportTerms, exportTerms, makeExport } from "./exports.ts";
import {
  defaultDrainTimeoutMs,
  defaultHandshakeTimeoutMs,
  defaultMaxConnections,
  maxDefaultThreads,
  maxThreads,
} from "./limits.ts";
import {
  type Listener,
  listenOnFd,
  listenOnTcp,
  listenOnUnixSocket,
  removeSocketFile,
  stopListening,
} from "./listen.ts";
import { type Log, silentLog } from "./log.ts";
import type { HandOver } from "./negotiation.ts";
import { Session } from "./session.ts";
import { SocketTransport } from "./socket-transport.ts";
import { checkTrafficLimits, type TrafficLimits } from "./throttle.ts";
import type { TlsOptions } from "./tls-options.ts";
import { TlsServer } from "./tls-server.ts";
import { type Address, exportUri } from "./uri.ts";
import { WorkerPool } from "./worker-pool.ts";

export interface NbdServerOptions {
  /** Connections at a time, 100 by default; more are closed at once. */
  readonly maxConnections?: number;
  /** Who may connect; without it, who reaches the sockets. With uids everybody reaches the Unix sockets (mode 0666). */
  readonly allow?: AllowList;
  /** What the connections of one client, a user or an address, may take together; not limited by default. */
  readonly clientLimits?: TrafficLimits;
  /** Time for a client's handshake, 10 s by default. */
  readonly handshakeTimeoutMs?: number;
  /** A connection on which nothing moves for this long is cut; 0 (the default) lets mounted disks idle for ever. */
  readonly idleTimeoutMs?: number;
  /** How long `close` waits for requests in progress, 5 s by default. */
  readonly drainTimeoutMs?: number;
  /** Encryption; none by default. */
  readonly tls?: TlsOptions;
  /**
   * Threads that serve connections, by default one for each core and 16 at most. With 0, and in a worker thread, the
   * event loop of the caller serves them: that takes longer, and waits for whatever else the caller does.
   */
  readonly threads?: number;
  /** Told what happens; silent by default. */
  readonly log?: Log;
}

/**
 * Serves block devices over NBD. Exports come and go while it runs; it may listen on several addresses at once.
 *
 *     await using server = new NbdServer();
 *     server.addExport(disk);
 *     await server.listenUnix("/run/user/1000/disks.sock");
 */
export class NbdServer {
  readonly #options: Required<Omit<NbdServerOptions, "tls" | "allow" | "clientLimits">>;
  readonly #admission: Admission;
  readonly #tls: TlsServer | undefined;
  readonly #exports: ExportTable = new ExportTable();
  readonly #terms: Map<string, ExportTerms> = new Map();
  #lastExport = 0;
  /** How to stop each listener. */
  readonly #listeners: (() => Promise<void>)[] = [];
  #pool: WorkerPool | undefined;
  readonly #addresses: Address[] = [];
  readonly #sessions: Map<number, Session> = new Map();
  #draining = false;
  #closing: Promise<void> | undefined;

  /**
   * @throws EINVAL for numbers out of range and lists that are none; EINVAL, ENOENT or EACCES for certificates and keys
   * that are not good
   */
  constructor(options: NbdServerOptions = {}) {
    this.#options = {
      maxConnections: options.maxConnections ?? defaultMaxConnections,
      handshakeTimeoutMs: options.handshakeTimeoutMs ?? defaultHandshakeTimeoutMs,
      idleTimeoutMs: options.idleTimeoutMs ?? 0,
      drainTimeoutMs: options.drainTimeoutMs ?? defaultDrainTimeoutMs,
      threads: options.threads ?? Math.min(availableParallelism(), maxDefaultThreads),
      log: options.log ?? silentLog,
    };
    const { log: _, ...numbers } = this.#options;
    if (numbers.threads > maxThreads) {
      throw new PerdureError("EINVAL", `threads is ${numbers.threads}`, {
        remedy: `give at most ${maxThreads}: so many can have a region open beside its owner`,
      });
    }
    for (const [name, value] of Object.entries(numbers)) {
      if (Number.isInteger(value) && value >= 0) continue;
      throw new PerdureError("EINVAL", `${name} is ${value}`, { remedy: `give ${name} a whole number from 0 on` });
    }
    const { tls, allow, clientLimits = {} } = options;
    checkTrafficLimits(clientLimits);
    this.#admission = new Admission({ ...makeTables(numbers.maxConnections), allow, clientLimits }, this.#options.log);
    if (tls !== undefined && tls.mode !== "off") this.#tls = new TlsServer(tls, this.#options.log);
  }

  /**
   * Serves a device under a name, its own by default. Clients see it from now on.
   *
   * @throws EEXIST when the name is taken, EINVAL for a name that the protocol cannot carry, and for lists and limits
   * that are none
   */
  addExport(device: BlockDevice, options: ExportOptions = {}): void {
    const terms = exportTerms(device, options, ++this.#lastExport);
    this.#exports.add(makeExport(terms, device));
    this.#terms.set(terms.name, terms);
    this.#pool?.addExport({ terms, shared: device.share?.() });
  }

  /**
   * Stops serving an export. Its clients get the answer to the request in progress, then they are disconnected.
   * Resolves when nobody uses the device any more, so that it can be closed.
   *
   * @throws ENOENT when there is no export of that name
   */
  async removeExport(name: string): Promise<void> {
    const removed = this.#exports.remove(name);
    this.#terms.delete(name);
    const leaving = [...this.#sessions.values()].filter((session) => session.export === removed);
    await Promise.all([this.#pool?.removeExport(name), dismiss(leaving, eventLoopClock, this.#options.drainTimeoutMs)]);
  }

  /**
   * Serves an export under another name from now on. Clients that have it open notice nothing.
   *
   * @throws ENOENT when there is no export of that name, and what `addExport` throws
   */
  renameExport(name: string, to: string): void {
    const { device } = this.#exports.rename(name, to);
    const terms = { ...(this.#terms.get(name) as ExportTerms), name: to };
    this.#terms.delete(name);
    this.#terms.set(to, terms);
    this.#pool?.renameExport(name, { terms, shared: device.share?.() });
  }

  /**
   * Listens on a Unix socket that only this user may connect to, or everybody whose uid is on the allow-list.
   *
   * @throws EINVAL, EEXIST, EBUSY, EACCES or ENOENT
   */
  async listenUnix(path: string): Promise<void> {
    this.#refuseClosed();
    await this.#listen(await listenOnUnixSocket(path, this.#admission.terms.allow?.uids !== undefined));
    this.#addresses.push({ kind: "unix", path });
  }

  /**
   * Listens on TCP. There is no access control but TLS and the allow-list: without them whoever reaches the port may
   * use the disks.
   *
   * @param port 0 lets the system choose
   * @returns the port
   * @throws EBUSY, EACCES or EINVAL
   */
  async listenTcp(host: string, port: number): Promise<number> {
    this.#refuseClosed();
    const listener = await listenOnTcp(host, port);
    await this.#listen(listener);
    this.#addresses.push({ kind: "tcp", host, port: listener.port as number });
    return listener.port as number;
  }

  /** Listens on a socket that this process was given, see `takeActivationFds`. @throws EINVAL */
  async listenFd(fd: number): Promise<void> {
    this.#refuseClosed();
    await this.#listen(listenOnFd(fd));
  }

  /** The connections of this moment. */
  get connections(): Connection[] {
    const own = [...this.#sessions].map(([id, { export: opened, requests, bytesReceived, bytesSent }]) => {
      return { id, exportName: opened?.name, requests, bytesReceived, bytesSent };
    });
    return [...(this.#pool?.list() ?? []), ...own];
  }

  /**
   * The URI of an export, on the first address that the server listens on.
   *
   * @throws ENOENT when there is no export of that name, EINVAL when the server listens on no address that it knows
   */
  uri(exportName: string): string {
    if (!this.#exports.has(exportName)) throw new PerdureError("ENOENT", `no export is named "${exportName}"`);
    const address = this.#addresses[0];
    if (address === undefined) {
      throw new PerdureError("EINVAL", "the server listens on no address of its own", {
        remedy: "call listenUnix or listenTcp first",
      });
    }
    return exportUri(address, exportName, this.#tls !== undefined);
  }

  /**
   * Refuses everything new from now on: options with ERR_SHUTDOWN, commands with ESHUTDOWN. Resolves when no request
   * is in progress. Clients stay connected until `close`.
   */
  async drain(): Promise<void> {
    this.#draining = true;
    await Promise.all([this.#pool?.drain(), ...[...this.#sessions.values()].map((session) => session.drain())]);
  }

  /**
   * Stops listening, finishes the requests in progress, says goodbye to the clients and waits until they are gone.
   * What takes longer than `drainTimeoutMs` is cut. Devices stay open: they belong to the caller.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#draining = true;
    // The threads first: a descriptor that is closed while they poll it may be somebody else's soon.
    await this.#pool?.stopListening();
    const stopped = this.#listeners.map((stop) => stop());
    await Promise.all([this.#pool?.close(), this.#dismissAll()]);
    // Those that a thread handed over while it was told to close.
    await this.#dismissAll();
    await Promise.all(stopped);
  }

  #dismissAll(): Promise<void> {
    return dismiss([...this.#sessions.values()], eventLoopClock, this.#options.drainTimeoutMs);
  }

  #refuseClosed(): void {
    if (this.#draining) throw new PerdureError("CLOSED", "the server was closed", { remedy: "make a new server" });
  }

  async #listen(listener: Listener): Promise<void> {
    try {
      if (this.#options.threads > 0 && isMainThread) this.#listenInThreads(listener);
      else await this.#listenInEventLoop(listener);
    } catch (error) {
      stopListening(listener);
      throw error;
    }
  }

  #listenInThreads(listener: Listener): void {
    if (this.#pool === undefined) {
      this.#pool = new WorkerPool({
        ...this.#options,
        admission: this.#admission,
        tls: this.#tls?.mode ?? "off",
        onMoved: (place, fd, handOver) => this.#adopt(place, fd, handOver),
      });
      for (const { name, device } of this.#exports) {
        this.#pool.addExport({ terms: this.#terms.get(name) as ExportTerms, shared: device.share?.() });
      }
    }
    this.#pool.listen(listener.fd);
    this.#listeners.push(async () => stopListening(listener));
  }

  async #listenInEventLoop({ fd, file }: Listener): Promise<void> {
    const server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen({ fd }, resolve);
    });
    // From now on an error is one of accepting (no file descriptors left): it concerns one client, not the server.
    server.on("error", (error) => this.#options.log.error({ err: error }, "a connection could not be accepted"));
    this.#listeners.push(async () => {
      if (file !== undefined) removeSocketFile(file);
      await new Promise<void>((done) => server.close(() => done()));
    });
  }

  #accept(socket: Socket): void {
    const { table } = this.#admission;
    const fd = descriptorOf(socket);
    if (this.#admission.admit(fd, [eventLoopOwner]) === 0) socket.destroy();
    else for (const place of table.take(eventLoopOwner)) this.#converse(socket, place, fd);
  }

  /** Goes on with a conversation that a serving thread cannot go on with. */
  #adopt(place: number, fd: number, handOver: HandOver): void {
    const socket = new Socket({ fd, readable: true, writable: true, allowHalfOpen: true });
    if (handOver.unsent.length > 0) socket.write(handOver.unsent);
    this.#converse(socket, place, fd, handOver);
  }

  #converse(socket: Socket, place: number, fd: number, handOver?: HandOver): void {
    const { table } = this.#admission;
    const id = table.id(place);
    const { log, handshakeTimeoutMs, idleTimeoutMs } = this.#options;
    const transport = new SocketTransport(socket, this.#tls);
    const session = new Session(transport, {
      id,
      exports: this.#exports,
      tls: this.#tls?.mode ?? "off",
      log,
      clock: eventLoopClock,
      handshakeTimeoutMs,
      draining: this.#draining,
      visit: this.#admission.visit(place, fd),
      ...(handOver === undefined ? {} : { haggled: handOver.haggled }),
    });
    this.#sessions.set(id, session);
    transport.attach(session, idleTimeoutMs);
    log.debug({ connection: id }, "a client connected");
    void session.gone.then(() => {
      this.#sessions.delete(id);
      table.leave(place);
      log.debug({ connection: id, requests: session.requests }, "a client left");
    });
    if (handOver !== undefined) session.receive(Buffer.from(handOver.bytes));
  }
}

/** Node does not tell it by an official way; without it the kernel cannot say who is there, and lists refuse. */
function descriptorOf(socket: Socket): number {
  const { _handle: handle } = socket as { _handle?: { fd?: number } | null };
  return handle?.fd ?? -1;
}
