import { availableParallelism } from "node:os";
import { setImmediate as turn } from "node:timers/promises";
import { type MessagePort, receiveMessageOnPort } from "node:worker_threads";
import type { JoinedDevice, JoinModule, SharedDevice } from "../device/index.ts";
import { acceptNow, closeSocket, Poller, pollFor, ring, silence, tuneConnection } from "../os/index.ts";
import { Admission } from "./admission.ts";
import { Batch } from "./batch.ts";
import { PolledClock } from "./clock.ts";
import type { ConnectionTable } from "./connection-table.ts";
import { type ConnectionHost, DirectConnection } from "./direct-connection.ts";
import { dismiss } from "./dismiss.ts";
import { type Export, ExportTable, type ExportTerms, makeExport } from "./exports.ts";
import { keepAliveMs, socketBufferBytes } from "./limits.ts";
import type { Log } from "./log.ts";
import type { HandOver } from "./negotiation.ts";
import { Session } from "./session.ts";
import { threadLog } from "./thread-log.ts";
import { Workbench } from "./workbench.ts";
import type { FromWorker, ToWorker, WorkerStart } from "./worker-mail.ts";

/** No wait is longer: `process.exit`, or an exception that ends the process, waits for who waits in the kernel. */
const maxWaitMs = 1000;
/** Looks before a sleep, of about half a microsecond each; where there is one core, the client needs it. */
const mostLooks: number = availableParallelism() > 1 ? 64 : 0;
/** A client that goes on within this time is worth looking for. */
const soonMs = 0.06;
/** While blocks wait for those who send them, somebody may be waiting for them. */
const heldWaitMs = 1;
/** How long no connection is accepted after the system refused one for want of descriptors or memory. */
const acceptPauseMs = 100;

/** A thread that serves connections with a loop of its own: it polls them and calls the kernel directly. */
export class ServingThread implements ConnectionHost {
  readonly batch: Batch;
  readonly clock: PolledClock = new PolledClock();
  readonly log: Log;
  readonly #start: WorkerStart;
  readonly #port: MessagePort;
  readonly #bench: Workbench = new Workbench();
  readonly #poller: Poller = new Poller();
  readonly #exports: ExportTable = new ExportTable();
  readonly #joined: Map<Export, JoinedDevice> = new Map();
  readonly #admission: Admission;
  readonly #table: ConnectionTable;
  readonly #connections: Map<number, { readonly connection: DirectConnection; readonly place: number }> = new Map();
  readonly #listeners: Set<number> = new Set();
  readonly #bell: number;
  /** How often it looks for events before it sleeps. */
  #looks = 0;
  #draining = false;
  #closed = false;
  /** Promises may have something to go on with. */
  #hasNews = false;
  /** Things that somebody waits for. Connections tell of them by promises, whatever they are doing. */
  #awaited = 0;

  constructor(start: WorkerStart, port: MessagePort) {
    this.#start = start;
    this.#port = port;
    this.#bell = start.bells[start.thread - 1];
    this.batch = new Batch(this.#bench);
    this.log = threadLog((mail) => this.#post(mail));
    this.#admission = new Admission(start.admission, this.log);
    this.#table = this.#admission.table;
  }

  /** Serves until it is told to close. */
  async run(): Promise<void> {
    try {
      this.#poller.add(this.#bell, pollFor.readable);
      await this.#readMail();
      while (!this.#closed) {
        const count = this.#nextEvents();
        let isRung = false;
        for (let k = 0; k < count; k++) {
          const fd = this.#poller.fdAt(k);
          if (fd === this.#bell) isRung = true;
          else this.#handle(fd, this.#poller.eventsAt(k));
        }
        // Only now: a connection that comes may have the number of one that went, and is not to get events of that.
        if (isRung) await this.#answerBell();
        if (this.clock.run()) this.#hasNews = true;
        if (!this.#hasNews && this.#awaited === 0) continue;
        this.#hasNews = false;
        // A turn of the event loop: promises that wait for promises go on as far as they can.
        await turn();
      }
    } finally {
      this.#dispose();
    }
  }

  yieldTurn(connection: DirectConnection): void {
    const { fd } = connection;
    this.clock.soon(() => {
      if (this.#connections.get(fd)?.connection === connection) this.#handle(fd, 0);
    });
  }

  watch({ fd }: DirectConnection, events: number): void {
    this.#poller.change(fd, events);
  }

  forget({ fd }: DirectConnection): void {
    const known = this.#connections.get(fd);
    if (known === undefined) return;
    this.#connections.delete(fd);
    this.#poller.remove(fd);
    this.#post({ kind: "left", id: this.#table.id(known.place) });
    this.#table.leave(known.place);
    this.#hasNews = true;
  }

  #post(mail: FromWorker): void {
    this.#port.postMessage(mail);
  }

  /**
   * Waits for events. Falling asleep and being woken takes longer than many a client takes to go on: while clients do
   * that within microseconds, it looks again for so long before it sleeps.
   */
  #nextEvents(): number {
    const began = performance.now();
    for (let looks = this.#looks; looks > 0; looks--) {
      const count = this.#poller.wait(0);
      if (count > 0) return count;
    }
    const count = this.#poller.wait(this.#patienceMs());
    const isSoon = count > 0 && performance.now() - began < soonMs;
    this.#looks = isSoon ? mostLooks : this.#looks >>> 1;
    return count;
  }

  #patienceMs(): number {
    let isHolding = false;
    for (const { device } of this.#joined.values()) isHolding = device.direct?.settle() === true || isHolding;
    return Math.min(maxWaitMs, this.clock.patienceMs, isHolding ? heldWaitMs : maxWaitMs);
  }

  #handle(fd: number, events: number): void {
    const known = this.#connections.get(fd);
    if (known !== undefined) {
      known.connection.handle(events);
      // The place of one that is gone may be another one's already.
      if (this.#connections.get(fd) === known) this.#table.count(known.place, known.connection);
    } else if (this.#listeners.has(fd)) this.#accept(fd);
  }

  // ---- mail ------------------------------------------------------------------------------------------------

  async #answerBell(): Promise<void> {
    silence(this.#bell);
    await this.#readMail();
    for (const place of this.#table.take(this.#start.thread)) this.#open(place);
  }

  async #readMail(): Promise<void> {
    for (;;) {
      const received = receiveMessageOnPort(this.#port);
      if (received === undefined) return;
      await this.#obey(received.message as ToWorker);
    }
  }

  async #obey(mail: ToWorker): Promise<void> {
    switch (mail.kind) {
      case "listen":
        this.#listeners.add(mail.fd);
        this.#poller.add(mail.fd, pollFor.readable);
        return;
      case "unlisten":
        for (const fd of this.#listeners) this.#poller.remove(fd);
        this.#listeners.clear();
        break;
      case "export":
        await this.#addExport(mail.terms, mail.shared);
        return;
      case "unexport":
        this.#whenDone(this.#removeExport(mail.name), mail.ticket);
        return;
      case "rename":
        this.#renameExport(mail.name, mail.to);
        return;
      case "drain":
        this.#draining = true;
        this.#whenDone(Promise.all(this.#all.map((connection) => connection.drain())), mail.ticket);
        return;
      case "close":
        this.#draining = true;
        this.#whenDone(this.#close(), mail.ticket);
        return;
    }
    this.#post({ kind: "done", ticket: mail.ticket });
  }

  /** It goes on with its loop meanwhile: what is waited for happens there. */
  #whenDone(work: Promise<unknown>, ticket: number): void {
    this.#awaited++;
    this.#hasNews = true;
    void work.then(() => {
      this.#awaited--;
      this.#hasNews = true;
      this.#post({ kind: "done", ticket });
    });
  }

  async #addExport(terms: ExportTerms, shared: SharedDevice | undefined): Promise<void> {
    const { name } = terms;
    try {
      if (shared === undefined) {
        this.#exports.elsewhere.add(name);
        return;
      }
      const module = (await import(shared.module)) as JoinModule;
      const joined = module.joinDevice(shared.data);
      const entry = makeExport(terms, joined.device);
      this.#joined.set(entry, joined);
      this.#exports.add(entry);
    } catch (error) {
      this.log.warn({ export: name, err: error }, "a thread cannot open a disk: the event loop serves it");
      this.#exports.elsewhere.add(name);
    }
  }

  async #removeExport(name: string): Promise<void> {
    if (this.#exports.elsewhere.delete(name)) return;
    const removed = this.#exports.remove(name);
    const leaving = this.#all.filter(({ session }) => session.export === removed);
    await dismiss(leaving, this.clock, this.#start.drainTimeoutMs);
    this.#joined.get(removed)?.[Symbol.dispose]();
    this.#joined.delete(removed);
  }

  #renameExport(name: string, to: string): void {
    if (this.#exports.elsewhere.delete(name)) {
      this.#exports.elsewhere.add(to);
      return;
    }
    this.#exports.rename(name, to);
  }

  async #close(): Promise<void> {
    await dismiss(this.#all, this.clock, this.#start.drainTimeoutMs);
    for (const joined of this.#joined.values()) joined[Symbol.dispose]();
    this.#joined.clear();
    this.#closed = true;
  }

  #dispose(): void {
    this.#poller[Symbol.dispose]();
    this.#bench[Symbol.dispose]();
    this.#port.close();
  }

  get #all(): DirectConnection[] {
    return Array.from(this.#connections.values(), ({ connection }) => connection);
  }

  // ---- connections -----------------------------------------------------------------------------------------

  /** Gives new connections to whoever has fewest. */
  #accept(listener: number): void {
    try {
      for (let fd = acceptNow(listener); fd >= 0; fd = acceptNow(listener)) this.#giveOut(fd);
    } catch (error) {
      this.log.error({ err: error }, "a connection could not be accepted");
      // It stays in the kernel's queue: asking at once would be asking without end.
      this.#poller.change(listener, 0);
      this.clock.after(acceptPauseMs, () => {
        if (this.#listeners.has(listener)) this.#poller.change(listener, pollFor.readable);
      });
    }
  }

  #giveOut(fd: number): void {
    tuneConnection(fd, { keepAliveMs, bufferBytes: socketBufferBytes });
    const threads = this.#start.bells.map((_, k) => k + 1);
    const thread = this.#admission.admit(fd, threads);
    if (thread === 0) closeSocket(fd);
    else if (thread === this.#start.thread) {
      for (const place of this.#table.take(thread)) this.#open(place);
    } else ring(this.#start.bells[thread - 1]);
  }

  #open(place: number): void {
    const fd = this.#table.fd(place);
    const id = this.#table.id(place);
    const connection = new DirectConnection(fd, this);
    this.#connections.set(fd, { connection, place });
    this.#poller.add(fd, pollFor.readable);
    const session = new Session(connection, {
      id,
      exports: this.#exports,
      tls: this.#start.tls,
      log: this.log,
      clock: this.clock,
      handshakeTimeoutMs: this.#start.handshakeTimeoutMs,
      draining: this.#draining,
      visit: this.#admission.visit(place, fd),
      meter: connection,
      onOpen: ({ name }) => this.#post({ kind: "opened", id, exportName: name }),
      onElsewhere: (conversation) => this.#move(connection, place, conversation),
    });
    connection.attach(session, this.#start.idleTimeoutMs);
    this.#hasNews = true;
  }

  #move(connection: DirectConnection, place: number, conversation: Omit<HandOver, "unsent">): void {
    const { fd } = connection;
    this.#connections.delete(fd);
    this.#poller.remove(fd);
    this.#table.move(place);
    this.#post({ kind: "moved", place, handOver: { ...conversation, unsent: connection.release() } });
  }
}
