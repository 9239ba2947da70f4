import { createServer, type Server, type Socket } from "node:net";
import { PerdureError } from "../base/index.ts";
import type { BlockDevice } from "../device/index.ts";
import { ExportTable } from "./exports.ts";
import { defaultDrainTimeoutMs, defaultHandshakeTimeoutMs, defaultMaxConnections } from "./limits.ts";
import { listenOnFd, listenOnTcp, listenOnUnixSocket } from "./listen.ts";
import { type Log, silentLog } from "./log.ts";
import { Session } from "./session.ts";
import { SocketTransport } from "./socket-transport.ts";
import type { TlsOptions } from "./tls-options.ts";
import { TlsServer } from "./tls-server.ts";
import { type Address, exportUri } from "./uri.ts";

export interface NbdServerOptions {
  /** Connections at a time, 100 by default; more are closed at once. */
  readonly maxConnections?: number;
  /** Time for a client's handshake, 10 s by default. */
  readonly handshakeTimeoutMs?: number;
  /** A connection on which nothing moves for this long is cut; 0 (the default) lets mounted disks idle for ever. */
  readonly idleTimeoutMs?: number;
  /** How long `close` waits for requests in progress, 5 s by default. */
  readonly drainTimeoutMs?: number;
  /** Encryption; none by default. */
  readonly tls?: TlsOptions;
  /** Told what happens; silent by default. */
  readonly log?: Log;
}

/** One connection, for people and metrics. */
export interface Connection {
  readonly id: number;
  /** The name of the export that the client opened. */
  readonly exportName: string | undefined;
  readonly requests: number;
  readonly bytesReceived: number;
  readonly bytesSent: number;
}

/**
 * Serves block devices over NBD. Exports come and go while it runs; it may listen on several addresses at once.
 *
 *     await using server = new NbdServer();
 *     server.addExport(disk);
 *     await server.listenUnix("/run/user/1000/disks.sock");
 */
export class NbdServer {
  readonly #options: Required<Omit<NbdServerOptions, "tls">>;
  readonly #tls: TlsServer | undefined;
  readonly #exports: ExportTable = new ExportTable();
  readonly #listeners: Set<Server> = new Set();
  readonly #addresses: Address[] = [];
  readonly #sessions: Map<number, Session> = new Map();
  #nextId = 1;
  #draining = false;
  #closing: Promise<void> | undefined;

  /** @throws EINVAL for numbers out of range; EINVAL, ENOENT or EACCES for certificates and keys that are not good */
  constructor(options: NbdServerOptions = {}) {
    this.#options = {
      maxConnections: options.maxConnections ?? defaultMaxConnections,
      handshakeTimeoutMs: options.handshakeTimeoutMs ?? defaultHandshakeTimeoutMs,
      idleTimeoutMs: options.idleTimeoutMs ?? 0,
      drainTimeoutMs: options.drainTimeoutMs ?? defaultDrainTimeoutMs,
      log: options.log ?? silentLog,
    };
    const { log: _, ...numbers } = this.#options;
    for (const [name, value] of Object.entries(numbers)) {
      if (Number.isInteger(value) && value >= 0) continue;
      throw new PerdureError("EINVAL", `${name} is ${value}`, { remedy: `give ${name} a whole number from 0 on` });
    }
    const { tls } = options;
    if (tls !== undefined && tls.mode !== "off") this.#tls = new TlsServer(tls, this.#options.log);
  }

  /**
   * Serves a device under a name, its own by default. Clients see it from now on.
   *
   * @throws EEXIST when the name is taken, EINVAL for a name that the protocol cannot carry
   */
  addExport(device: BlockDevice, options: { name?: string; description?: string } = {}): void {
    this.#exports.add({ name: options.name ?? device.name, description: options.description ?? "", device });
  }

  /**
   * Stops serving an export. Its clients get the answer to the request in progress, then they are disconnected.
   * Resolves when nobody uses the device any more, so that it can be closed.
   *
   * @throws ENOENT when there is no export of that name
   */
  async removeExport(name: string): Promise<void> {
    const removed = this.#exports.remove(name);
    await this.#dismiss(() => [...this.#sessions.values()].filter((session) => session.export === removed));
  }

  /** Listens on a Unix socket that only this user may connect to. @throws EINVAL, EEXIST, EBUSY, EACCES or ENOENT */
  async listenUnix(path: string): Promise<void> {
    await this.#listen((listener) => listenOnUnixSocket(listener, path));
    this.#addresses.push({ kind: "unix", path });
  }

  /**
   * Listens on TCP. There is no access control but that of TLS: without it whoever reaches the port may use the disks.
   *
   * @param port 0 lets the system choose
   * @returns the port
   * @throws EBUSY, EACCES or EINVAL
   */
  async listenTcp(host: string, port: number): Promise<number> {
    const bound = await this.#listen((listener) => listenOnTcp(listener, host, port));
    this.#addresses.push({ kind: "tcp", host, port: bound });
    return bound;
  }

  /** Listens on a socket that this process was given, see `takeActivationFds`. @throws EINVAL */
  async listenFd(fd: number): Promise<void> {
    await this.#listen((listener) => listenOnFd(listener, fd));
  }

  /** The connections of this moment. */
  get connections(): Connection[] {
    return [...this.#sessions].map(([id, session]) => ({
      id,
      exportName: session.export?.name,
      requests: session.requests,
      bytesReceived: session.bytesReceived,
      bytesSent: session.bytesSent,
    }));
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
    await Promise.all([...this.#sessions.values()].map((session) => session.drain()));
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
    const stopped = [...this.#listeners].map((listener) => new Promise<void>((done) => listener.close(() => done())));
    await this.#dismiss(() => [...this.#sessions.values()]);
    await Promise.all(stopped);
  }

  /** Lets sessions answer what they have begun, ends them, and cuts what is not gone in time. */
  async #dismiss(leaving: () => Session[]): Promise<void> {
    const { drainTimeoutMs } = this.#options;
    const deadline = setTimeout(() => {
      for (const session of leaving()) session.destroy();
    }, drainTimeoutMs);
    await Promise.all(
      leaving().map(async (session) => {
        await session.drain();
        session.end();
        await session.gone;
      }),
    );
    clearTimeout(deadline);
  }

  async #listen<Result>(start: (listener: Server) => Promise<Result>): Promise<Result> {
    if (this.#draining) throw new PerdureError("CLOSED", "the server was closed", { remedy: "make a new server" });
    const listener = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));
    const result = await start(listener);
    // From now on an error is one of accepting (no file descriptors left): it concerns one client, not the server.
    listener.on("error", (error) => this.#options.log.error({ err: error }, "a connection could not be accepted"));
    this.#listeners.add(listener);
    return result;
  }

  #accept(socket: Socket): void {
    const { log, maxConnections, handshakeTimeoutMs, idleTimeoutMs } = this.#options;
    if (this.#sessions.size >= maxConnections) {
      log.warn({ maxConnections }, "a connection was refused: there are as many as allowed");
      socket.destroy();
      return;
    }
    const id = this.#nextId++;
    const transport = new SocketTransport(socket, this.#tls);
    const session = new Session(transport, {
      id,
      exports: this.#exports,
      tls: this.#tls?.mode ?? "off",
      log,
      handshakeTimeoutMs,
      draining: this.#draining,
    });
    this.#sessions.set(id, session);
    transport.attach(session, idleTimeoutMs);
    log.debug({ connection: id }, "a client connected");
    void session.gone.then(() => {
      this.#sessions.delete(id);
      log.debug({ connection: id, requests: session.requests }, "a client left");
    });
  }
}
