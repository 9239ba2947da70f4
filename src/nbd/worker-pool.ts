import { Worker } from "node:worker_threads";
import type { SharedDevice } from "../device/index.ts";
import { closeSocket, makeBell, ring } from "../os/index.ts";
import type { Admission } from "./admission.ts";
import type { Connection, ConnectionTable } from "./connection-table.ts";
import type { ExportTerms } from "./exports.ts";
import type { Log } from "./log.ts";
import type { HandOver } from "./negotiation.ts";
import type { TlsMode } from "./tls-options.ts";
import type { FromWorker, ToWorker, WorkerStart } from "./worker-mail.ts";

export interface WorkerPoolOptions {
  readonly threads: number;
  readonly admission: Admission;
  readonly tls: TlsMode;
  readonly handshakeTimeoutMs: number;
  readonly idleTimeoutMs: number;
  readonly drainTimeoutMs: number;
  readonly log: Log;
  /** A connection that only the event loop can go on with: the caller has the descriptor from now on. */
  readonly onMoved: (place: number, fd: number, handOver: HandOver) => void;
}

interface Member {
  readonly thread: number;
  readonly bell: number;
  worker: Worker;
  startedMs: number;
  /** Told when what was asked is done, by ticket. */
  readonly waiters: Map<number, () => void>;
}

/** A thread that ends is replaced this long after its start at the earliest: it might only end again. */
const restartMs = 1000;

interface PooledExport {
  readonly terms: ExportTerms;
  readonly shared: SharedDevice | undefined;
}

/** The threads that serve connections, as the main thread sees them. One that ends by a defect is replaced. */
export class WorkerPool {
  readonly connections: ConnectionTable;
  readonly #options: WorkerPoolOptions;
  readonly #members: Member[] = [];
  readonly #listeners: number[] = [];
  readonly #exports: Map<string, PooledExport> = new Map();
  /** What clients have opened, by the number of the connection. */
  readonly #opened: Map<number, string> = new Map();
  readonly #ringAll: () => void = () => {
    for (const { bell } of this.#members) ring(bell);
  };
  #lastTicket = 0;
  #closing = false;

  /** @throws SystemCallError when the system has no descriptors left */
  constructor(options: WorkerPoolOptions) {
    this.#options = options;
    this.connections = options.admission.table;
    const bells = Array.from({ length: options.threads }, () => makeBell());
    for (const [k, bell] of bells.entries()) {
      const thread = k + 1;
      const worker = this.#spawn(thread, bells);
      this.#members.push({ thread, bell, worker, startedMs: performance.now(), waiters: new Map() });
      this.#attend(this.#members[k]);
    }
    // A thread that waits in the kernel keeps its process from ending until it wakes up.
    process.once("exit", this.#ringAll);
  }

  /** The connections that the threads serve. */
  list(): Connection[] {
    const { connections } = this;
    return this.#members
      .flatMap(({ thread }) => connections.of(thread))
      .map((place) => {
        const id = connections.id(place);
        return { id, exportName: this.#opened.get(id), ...connections.counts(place) };
      });
  }

  /** Accepts connections of a listening socket. The caller closes it, after `close`. */
  listen(fd: number): void {
    this.#listeners.push(fd);
    this.#tell(this.#members[0], { kind: "listen", fd });
  }

  addExport(entry: PooledExport): void {
    this.#exports.set(entry.terms.name, entry);
    for (const member of this.#members) this.#tell(member, exportMail(entry));
  }

  /** Resolves when no thread serves the export any more. */
  async removeExport(name: string): Promise<void> {
    this.#exports.delete(name);
    await this.#askAll((ticket) => ({ kind: "unexport", name, ticket }));
  }

  renameExport(name: string, entry: PooledExport): void {
    const { name: to } = entry.terms;
    this.#exports.delete(name);
    // A thread that is started later opens the device by what it is called then.
    this.#exports.set(to, entry);
    for (const [id, opened] of this.#opened) if (opened === name) this.#opened.set(id, to);
    for (const member of this.#members) this.#tell(member, { kind: "rename", name, to });
  }

  /** Refuses everything new. Resolves when no request is in progress. */
  async drain(): Promise<void> {
    await this.#askAll((ticket) => ({ kind: "drain", ticket }));
  }

  /** Accepts nobody any more. */
  async stopListening(): Promise<void> {
    this.#listeners.length = 0;
    await this.#ask(this.#members[0], (ticket) => ({ kind: "unlisten", ticket }));
  }

  /** Finishes what clients have asked, disconnects them and ends the threads; they accept nobody any more. */
  async close(): Promise<void> {
    this.#closing = true;
    const ended = this.#members.map(({ worker }) => endOf(worker));
    await this.#askAll((ticket) => ({ kind: "close", ticket }));
    await Promise.all(ended);
    process.off("exit", this.#ringAll);
    for (const { bell } of this.#members) closeSocket(bell);
  }

  #spawn(thread: number, bells: readonly number[]): Worker {
    const { admission, tls, handshakeTimeoutMs, idleTimeoutMs, drainTimeoutMs } = this.#options;
    const limits = { handshakeTimeoutMs, idleTimeoutMs, drainTimeoutMs };
    const start: WorkerStart = { thread, bells, admission: admission.terms, tls, ...limits };
    return new Worker(new URL("serving-worker.js", import.meta.url), { name: `nbd-${thread}`, workerData: start });
  }

  #attend(member: Member): void {
    const { worker } = member;
    worker.on("message", (mail: FromWorker) => this.#read(member, mail));
    worker.on("error", (error) => this.#options.log.error({ err: error }, "a serving thread failed"));
    worker.once("exit", () => this.#replace(member));
  }

  #read(member: Member, mail: FromWorker): void {
    switch (mail.kind) {
      case "done":
        member.waiters.get(mail.ticket)?.();
        member.waiters.delete(mail.ticket);
        break;
      case "log":
        this.#options.log[mail.level](mail.fields, mail.message);
        break;
      case "opened":
        this.#opened.set(mail.id, mail.exportName);
        break;
      case "left":
        this.#opened.delete(mail.id);
        break;
      case "moved":
        this.#options.onMoved(mail.place, this.connections.fd(mail.place), mail.handOver);
        break;
    }
  }

  /** Closes what a thread has left open, and lets another one take its place. */
  #replace(member: Member): void {
    for (const resolve of member.waiters.values()) resolve();
    member.waiters.clear();
    for (const place of this.connections.of(member.thread)) {
      this.#opened.delete(this.connections.id(place));
      closeSocket(this.connections.fd(place));
      this.connections.leave(place);
    }
    if (this.#closing) return;
    const waitMs = Math.max(0, member.startedMs + restartMs - performance.now());
    setTimeout(() => this.#restart(member), waitMs).unref();
  }

  #restart(member: Member): void {
    if (this.#closing) return;
    const bells = this.#members.map(({ bell }) => bell);
    member.worker = this.#spawn(member.thread, bells);
    member.startedMs = performance.now();
    this.#attend(member);
    for (const entry of this.#exports.values()) this.#tell(member, exportMail(entry));
    if (member === this.#members[0]) for (const fd of this.#listeners) this.#tell(member, { kind: "listen", fd });
  }

  #tell(member: Member, mail: ToWorker): void {
    member.worker.postMessage(mail);
    ring(member.bell);
  }

  #ask(member: Member, mailOf: (ticket: number) => ToWorker): Promise<void> {
    // Who has ended answers no more.
    if (member.worker.threadId === -1) return Promise.resolve();
    const ticket = ++this.#lastTicket;
    const done = new Promise<void>((resolve) => member.waiters.set(ticket, resolve));
    this.#tell(member, mailOf(ticket));
    return done;
  }

  async #askAll(mailOf: (ticket: number) => ToWorker): Promise<void> {
    await Promise.all(this.#members.map((member) => this.#ask(member, mailOf)));
  }
}

/** Resolves when a thread is gone. */
function endOf(worker: Worker): Promise<void> {
  if (worker.threadId === -1) return Promise.resolve();
  return new Promise((resolve) => worker.once("exit", () => resolve()));
}

function exportMail({ terms, shared }: PooledExport): ToWorker {
  return { kind: "export", terms, ...(shared === undefined ? {} : { shared }) };
}
