import { createServer, type Server, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { PerdureError } from "../base/index.ts";
import { Inbox } from "./inbox.ts";
import { defaultHandshakeTimeoutMs, firstRetryMs, goodbyeTimeoutMs, lastRetryMs } from "./limits.ts";
import { listenOnUnixSocket, removeSocketFile } from "./listen.ts";
import { type Log, silentLog } from "./log.ts";
import { type ExportTerms, openExport } from "./open-export.ts";
import { EXPORT_FLAG } from "./protocol.ts";
import { goodbye, RelayedClient } from "./relayed-client.ts";
import type { RemoteExport } from "./uri.ts";
import { welcome } from "./welcome.ts";

/** How a relay behaves. */
export interface NbdRelayOptions {
  /** How long requests wait for a server before they fail with EIO; 0, the default, is for ever. */
  readonly timeoutMs?: number;
  /** Where it tells of a server that goes and comes back. */
  readonly log?: Log;
}

/**
 * Stands between an NBD server and clients that do not survive its end: for them a server that is killed and started
 * again has paused. Requests that were not answered are sent to the server that comes next, if it serves the same
 * disk. Each client has a connection of its own to the server.
 *
 *     await using relay = await NbdRelay.open(parseExportUri(uri));
 *     await relay.listenUnix("/run/user/1000/relay.sock");
 */
export class NbdRelay {
  /** What the server said of the export at first, and must say again. */
  readonly #terms: ExportTerms;
  readonly #place: RemoteExport;
  readonly #timeoutMs: number;
  readonly #log: Log;
  /** Connections of clients. */
  readonly #sockets: Set<Socket> = new Set();
  /** Clients that have no server. */
  readonly #waiting: Set<RelayedClient> = new Set();
  /** Why there is none, as it was told last. */
  #told = "";
  readonly #listeners: (() => Promise<void>)[] = [];

  private constructor(place: RemoteExport, terms: ExportTerms, { timeoutMs = 0, log = silentLog }: NbdRelayOptions) {
    this.#place = place;
    this.#terms = terms;
    this.#timeoutMs = timeoutMs;
    this.#log = log;
  }

  /**
   * Asks the server for the export.
   *
   * @throws ENOENT when there is no such server or export; EACCES, EIO
   */
  static async open(place: RemoteExport, options: NbdRelayOptions = {}): Promise<NbdRelay> {
    const { socket, terms } = await openExport(place);
    socket.end(goodbye());
    return new NbdRelay(place, terms, options);
  }

  /** The export cannot be written to. */
  get readOnly(): boolean {
    return (this.#terms.flags & EXPORT_FLAG.READ_ONLY) !== 0;
  }

  /** Lets clients of this user in on a Unix socket. @throws EINVAL, EEXIST, EBUSY, EACCES, ENOENT */
  async listenUnix(path: string): Promise<void> {
    const { fd, file } = await listenOnUnixSocket(path);
    const server: Server = createServer({ allowHalfOpen: true }, (socket) => void this.#accept(socket));
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen({ fd }, resolve);
    });
    // From now on an error is one of accepting: it concerns one client.
    server.on("error", (error) => this.#log.error({ err: error }, "a connection could not be accepted"));
    this.#listeners.push(async () => {
      if (file !== undefined) removeSocketFile(file);
      await new Promise((resolve) => server.close(resolve));
    });
  }

  /** Cuts all connections. Clients should have gone before: what they wait for is not answered. */
  async close(): Promise<void> {
    const stopped = this.#listeners.splice(0).map((stop) => stop());
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all(stopped);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #accept(socket: Socket): Promise<void> {
    this.#sockets.add(socket);
    socket.on("close", () => this.#sockets.delete(socket));
    const deadline = setTimeout(() => socket.destroy(), defaultHandshakeTimeoutMs);
    // Every error is followed by `close`, which says all there is to do.
    socket.on("error", () => {});
    const inbox = new Inbox(socket);
    const opened = await welcome(socket, inbox, { name: this.#place.name, terms: this.#terms }).catch(() => false);
    clearTimeout(deadline);
    if (!opened || socket.destroyed) {
      socket.destroy();
      return;
    }
    const left = new AbortController();
    const client = new RelayedClient(socket, () => {
      left.abort();
      this.#waiting.delete(client);
    });
    client.begin(inbox);
    await this.#keepServed(client, left.signal);
  }

  /** Finds a server for a client again and again, until the client has left. */
  async #keepServed(client: RelayedClient, left: AbortSignal): Promise<void> {
    let retryMs = firstRetryMs;
    let giveUp: NodeJS.Timeout | undefined;
    while (!left.aborted) {
      if (this.#timeoutMs > 0) giveUp ??= setTimeout(() => client.giveUp(), this.#timeoutMs);
      try {
        const { socket, inbox } = await this.#openAgain();
        if (left.aborted) {
          socket.destroy();
          break;
        }
        clearTimeout(giveUp);
        giveUp = undefined;
        this.#tellBack(client);
        // A server that hangs up when it is asked is not asked again in a hurry.
        if (await serveUntilGone(client, socket, inbox)) retryMs = firstRetryMs;
      } catch (error) {
        if (!left.aborted) this.#tellWaiting(client, (error as Error).message);
      }
      await sleep(retryMs, undefined, { signal: left }).catch(() => {});
      retryMs = Math.min(2 * retryMs, lastRetryMs);
    }
    clearTimeout(giveUp);
  }

  /** @throws PerdureError when there is no server, or when it serves another disk by now */
  async #openAgain(): Promise<{ socket: Socket; inbox: Inbox }> {
    const { socket, inbox, terms } = await openExport(this.#place);
    const difference = differenceOf(this.#terms, terms);
    if (difference === undefined) return { socket, inbox };
    socket.destroy();
    throw new PerdureError("EIO", `what is served now is another disk: ${difference}`);
  }

  #tellWaiting(client: RelayedClient, reason: string): void {
    this.#waiting.add(client);
    if (reason === this.#told) return;
    this.#told = reason;
    this.#log.warn({}, `${reason}: requests wait`);
  }

  #tellBack(client: RelayedClient): void {
    this.#waiting.delete(client);
    if (this.#told === "" || this.#waiting.size > 0) return;
    this.#told = "";
    this.#log.warn({}, "the server is back: requests go on");
  }
}

/** @returns when the server is gone: whether it did what it was asked, or a part of it */
async function serveUntilGone(client: RelayedClient, socket: Socket, inbox: Inbox): Promise<boolean> {
  let deadline: NodeJS.Timeout | undefined;
  client.onShutdown = () => {
    deadline ??= setTimeout(() => socket.destroy(), goodbyeTimeoutMs);
  };
  const served = await client.serve(socket, inbox);
  clearTimeout(deadline);
  return served;
}

/** How an export differs from the one that clients have opened, in what they rely on. A larger one serves them, too. */
function differenceOf(before: ExportTerms, now: ExportTerms): string | undefined {
  if (now.sizeBytes < before.sizeBytes) return `it has ${now.sizeBytes} bytes, it had ${before.sizeBytes}`;
  if (now.flags !== before.flags) return `its abilities are 0x${now.flags.toString(16)}`;
  if (now.description !== before.description) return `it is "${now.description}", it was "${before.description}"`;
  return undefined;
}
