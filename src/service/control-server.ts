import { once } from "node:events";
import { existsSync, mkdirSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type ErrorCode, isPerdureError, PerdureError } from "../base/index.ts";
import type { Log } from "../nbd/index.ts";
import { listenOnUnixSocket, removeSocketFile, stopListening } from "../nbd/listen.ts";
import { controlAddress } from "./control-address.ts";
import { prepare, type Served } from "./operations.ts";
import {
  drainTimeoutMs,
  maxClients,
  maxInputBytes,
  memoryHeader,
  pathPrefix,
  requestTimeoutMs,
  statusOtherMemory,
} from "./protocol.ts";
import { tellError } from "./told-error.ts";

/** An answer that HTTP has a number of its own for. */
class Refusal extends Error {
  readonly status: number;
  readonly told: PerdureError;

  constructor(status: number, told: PerdureError) {
    super(told.message);
    this.status = status;
    this.told = told;
  }
}

/** Lets processes of this user change what a server serves, while it does. */
export class ControlServer {
  readonly #served: Served;
  readonly #log: Log;
  readonly #http: Server;
  #key = "";
  #file: { readonly path: string; readonly inode: number } | undefined;
  /** Requests that are being answered. */
  readonly #busy: Set<Promise<void>> = new Set();
  /** The operation that was begun last: they are done one after the other. */
  #last: Promise<unknown> = Promise.resolve();
  #closing = false;

  constructor(served: Served, log: Log) {
    this.#served = served;
    this.#log = log;
    this.#http = createServer(
      {
        headersTimeout: requestTimeoutMs,
        requestTimeout: requestTimeoutMs,
        connectionsCheckingInterval: 1000,
        maxHeaderSize: maxInputBytes,
      },
      (request, response) => this.#receive(request, response),
    );
    this.#http.maxConnections = maxClients;
  }

  /** Listens where clients look for it. A server without such a place goes on without, and says so in the log. */
  async listen(source: string, env: NodeJS.ProcessEnv): Promise<void> {
    const { key = "", paths = [] } = controlAddress(source, env) ?? {};
    this.#key = key;
    let cause: unknown = new Error("there is no folder for it, and XDG_RUNTIME_DIR names none");
    for (const path of paths) {
      try {
        await this.#listenAt(path);
        return;
      } catch (error) {
        cause = error;
      }
    }
    this.#log.warn({ err: cause }, "there is no control socket: disks cannot be changed while they are served");
  }

  async #listenAt(path: string): Promise<void> {
    // There is one where the region lies, but not always one for those that lie nowhere.
    const folder = dirname(path);
    if (!existsSync(folder)) mkdirSync(folder, { mode: 0o700 });
    const listener = await listenOnUnixSocket(path);
    try {
      this.#http.listen({ fd: listener.fd });
      await once(this.#http, "listening");
    } catch (error) {
      stopListening(listener);
      throw error;
    }
    this.#file = listener.file;
    // From now on an error is one of accepting (no file descriptors left): it concerns one client.
    this.#http.on("error", (error) => this.#log.error({ err: error }, "a control connection could not be accepted"));
  }

  /** Does what was asked, refuses everything new, and closes the socket. */
  async close(): Promise<void> {
    this.#closing = true;
    if (this.#file === undefined) return;
    removeSocketFile(this.#file);
    const closed = new Promise((resolve) => this.#http.close(resolve));
    const patience = new AbortController();
    const answered = Promise.all(this.#busy).then(() => patience.abort());
    await Promise.race([answered, sleep(drainTimeoutMs, undefined, { signal: patience.signal }).catch(() => {})]);
    // An operation changes the region, which its owner closes next.
    await this.#last;
    this.#http.closeAllConnections();
    await closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #receive(request: IncomingMessage, response: ServerResponse): void {
    // A client that vanishes hears no answer, and that is all.
    request.on("error", () => {});
    response.on("error", () => {});
    const answered = this.#answer(request, response).finally(() => this.#busy.delete(answered));
    this.#busy.add(answered);
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { status, body } = await this.#attempt(request);
    const sent = new Promise((resolve) => response.once("close", resolve));
    response.writeHead(status, { "content-type": "application/json", connection: "close" });
    response.end(`${JSON.stringify(body)}\n`);
    if (!response.destroyed) await sent;
  }

  async #attempt(request: IncomingMessage): Promise<{ status: number; body: unknown }> {
    try {
      return { status: 200, body: await this.#perform(request) };
    } catch (error) {
      if (error instanceof Refusal) return { status: error.status, body: tellError(error.told) };
      if (!isPerdureError(error)) this.#log.error({ err: error }, "a control request failed inside the server");
      return { status: (isPerdureError(error) && statuses[error.code]) || 500, body: tellError(error) };
    }
  }

  async #perform(request: IncomingMessage): Promise<unknown> {
    const { method, url = "", headers } = request;
    const memory = headers[memoryHeader];
    if (memory !== undefined && memory !== this.#key) {
      throw new Refusal(statusOtherMemory, new PerdureError("ENOENT", "this server has another memory open"));
    }
    if (method !== "POST") throw new Refusal(405, new PerdureError("EINVAL", "operations are asked for by POST"));
    const input = parse(await readInput(request));
    const act = url.startsWith(pathPrefix) ? prepare(url.slice(pathPrefix.length), input) : undefined;
    if (act === undefined) throw new PerdureError("ENOENT", `there is no operation ${url}`);
    const done = this.#last.then(() => {
      if (!this.#closing) return act(this.#served);
      const remedy = "try again when it is gone";
      throw new Refusal(503, new PerdureError("CLOSED", "the server is about to end", { remedy }));
    });
    this.#last = done.catch(() => {});
    return done;
  }
}

/** What HTTP has a number for; all else went wrong in the server. */
const statuses: Partial<Record<ErrorCode, number>> = {
  EINVAL: 400,
  ENAMETOOLONG: 400,
  ENOENT: 404,
  EBUSY: 409,
  EEXIST: 409,
  READ_ONLY: 409,
  ENOSPC: 507,
};

async function readInput(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let count = 0;
  const tooLong = new Refusal(413, new PerdureError("EINVAL", `the input has more than ${maxInputBytes} bytes`));
  if (Number(request.headers["content-length"] ?? 0) > maxInputBytes) throw tooLong;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    count += chunk.length;
    // Without a length in front there is no end to wait for: leaving the loop cuts the connection.
    if (count > maxInputBytes) throw tooLong;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

/** No input at all is an empty one. @throws EINVAL */
function parse(text: string): unknown {
  try {
    return text === "" ? {} : JSON.parse(text);
  } catch (cause) {
    throw new PerdureError("EINVAL", "the input is no JSON", { cause });
  }
}
