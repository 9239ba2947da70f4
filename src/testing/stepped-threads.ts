import { MessageChannel, type MessagePort, Worker } from "node:worker_threads";
import { EventLog } from "./event-log.ts";
import type { MemoryEvent } from "./recording-memory.ts";
import type { Schedule, Step } from "./schedule.ts";
import { order, ResultText, type StartData, type Subject, type ThreadResult } from "./stepped-thread.ts";
import { Turns } from "./turns.ts";

/** In so many milliseconds what a thread that sleeps has begun in the background comes to an end. */
const SETTLED_AFTER_MS = 200;

/** What two threads work on. All of it is shared, and is put back before every run as it was when it was given. */
export interface SteppedSubject<Task> {
  readonly image: SharedArrayBuffer;
  /** Everything else that the threads share, above all the words at which they wait. */
  readonly buffers: readonly SharedArrayBuffer[];
  /** For both threads: what they need to attach, and what each is to do. */
  readonly task: Task;
}

/** What came of a schedule. */
export interface SteppedRun {
  readonly schedule: Schedule;
  readonly steps: readonly Step[];
  /** Events of both threads in one order. */
  readonly events: readonly MemoryEvent[];
  /** Of A, and of B. */
  readonly threads: readonly [ThreadResult, ThreadResult];
}

/**
 * Two worker threads that run the same two operations again and again, each time as another schedule says. They are
 * real threads with isolates of their own; of the two only one runs at a time.
 */
export class SteppedThreads<Task> implements Disposable {
  readonly #turns = new Turns(0);
  readonly #log = new EventLog();
  readonly #texts: readonly ResultText[] = [new ResultText(), new ResultText()];
  readonly #workers: readonly Worker[];
  readonly #ports: readonly MessagePort[];
  #subject: SteppedSubject<Task> | undefined;
  /** What the image and the buffers hold at the start of every run. */
  #start: readonly [SharedArrayBuffer, Uint8Array][] = [];

  /** `program` is a module that calls `serveSteps`. */
  constructor(program: URL) {
    const channels = this.#texts.map(() => new MessageChannel());
    this.#ports = channels.map(({ port1 }) => port1);
    this.#workers = channels.map(({ port2 }, k) => {
      const shared = { turns: this.#turns.buffer, log: this.#log.buffer, text: this.#texts[k].buffer };
      const data: StartData = { ...shared, number: k + 1, port: port2 };
      return new Worker(program, { workerData: data, transferList: [port2] });
    });
    // Threads that sleep do not keep a process alive.
    for (const handle of [...this.#workers, ...this.#ports]) handle.unref();
  }

  /** Gives the threads something else to work on. */
  prepare(subject: SteppedSubject<Task>): void {
    const { image, buffers, task } = subject;
    this.#subject = subject;
    const recorded = new SharedArrayBuffer(image.byteLength);
    new Uint8Array(recorded).set(new Uint8Array(image));
    this.#start = [image, recorded, ...buffers].map((buffer) => [buffer, new Uint8Array(buffer).slice()]);
    this.#turns.watch(buffers);
    const message: Subject<Task> = { image, recorded, buffers, task };
    for (const port of this.#ports) port.postMessage(message);
    this.#turns.send(order.prepare);
    this.#refuseFailure();
  }

  /** The image at the start of every run. */
  get startImage(): Uint8Array {
    return this.#start[0][1];
  }

  /** @throws Error when a thread failed in what is not its operation, or does not come back */
  run(schedule: Schedule): SteppedRun {
    if (this.#subject === undefined) throw new Error("the threads have nothing to work on");
    // A buffer that has grown since is zero beyond its start.
    for (const [buffer, bytes] of this.#start) {
      const now = new Uint8Array(buffer);
      now.set(bytes);
      now.fill(0, bytes.length);
    }
    this.#log.clear();
    this.#turns.begin(schedule);
    this.#turns.send(schedule.first === "A" ? order.runFirst : order.runSecond);
    this.#refuseFailure();
    const [a, b] = this.#texts.map((text) => text.read() as ThreadResult);
    return { schedule, steps: this.#turns.steps, events: this.#log.read(), threads: [a, b] };
  }

  #refuseFailure(): void {
    for (const text of this.#texts) {
      const result = text.read();
      if (result !== undefined && "failure" in result) throw new Error(`a stepped thread failed: ${result.failure}`);
    }
  }

  /** Ends the threads. */
  [Symbol.dispose](): void {
    for (const port of this.#ports) port.close();
    // Node 20 was seen to die where a worker ended while its code was still being optimized in the background.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, SETTLED_AFTER_MS);
    for (const worker of this.#workers) void worker.terminate();
  }
}
