import { type MessagePort, receiveMessageOnPort, workerData } from "node:worker_threads";
import { assert } from "../base/index.ts";
import { EventLog } from "./event-log.ts";
import { type MemoryEvent, Recording, RecordingMemory } from "./recording-memory.ts";
import type { ThreadName } from "./schedule.ts";
import { SteppedMemory } from "./stepped-memory.ts";
import { Turns } from "./turns.ts";

const MAX_STACK = 4000;

/** What the threads are told to do next: to prepare, or to run, A before B or the other way round. */
export const order = { prepare: 1, runFirst: 2, runSecond: 3 } as const;

/** What a thread is started with. */
export interface StartData {
  readonly turns: SharedArrayBuffer;
  readonly log: SharedArrayBuffer;
  readonly text: SharedArrayBuffer;
  /** 1 or 2. */
  readonly number: number;
  /** Subjects come by it. */
  readonly port: MessagePort;
}

/** What both threads are given to work on. */
export interface Subject<Task> {
  readonly image: SharedArrayBuffer;
  readonly recorded: SharedArrayBuffer;
  readonly buffers: readonly SharedArrayBuffer[];
  readonly task: Task;
}

/** What a thread did in a run. */
export interface ThreadResult {
  /** How many events there were when it began, and when it had returned. */
  readonly begin: number;
  readonly end: number;
  /** The other one had returned before this one began. */
  readonly isAfter: boolean;
  /** What its operation answered. */
  readonly answer: string;
  /** What it sees when both are done. */
  readonly view: string;
}

/** What a program does in each of the two threads. */
export interface SteppedProgram<Task, Opened> {
  /**
   * Attaches to what is shared. `memory` makes a step of every store and fence, `steps` is for the other places where a
   * thread may be preempted, and for its locks. A runs before B does.
   */
  attach(memory: RecordingMemory, steps: Steps, task: Task): Opened;
  /** The operation. @returns its answer, also when it was refused; it throws what is a fault of the code */
  operate(opened: Opened, name: ThreadName, task: Task): string;
  /** What a thread sees, in words, when both operations are done. */
  view?(opened: Opened, task: Task): string;
  /** Which events are steps of their own; stores and fences by default: a flush changes nothing that others see. */
  isStep?(event: MemoryEvent): boolean;
  /** True for a thread whose loads are steps, too: one that only reads has no others. */
  stepsAtLoads?(name: ThreadName, task: Task): boolean;
}

/** What a program tells of its thread. */
export interface Steps {
  /** The thread that calls is about to do what the other one may see, or has just done it. */
  pass(): void;
  /** Sleeps until a word of the shared buffers has another value. */
  wait(words: Int32Array, at: number, value: number): void;
}

/** Makes the worker that calls it one of two stepped threads, until `SteppedThreads` ends it. */
export function serveSteps<Task, Opened>(program: SteppedProgram<Task, Opened>): never {
  const thread = new SteppedThread(program, workerData as StartData);
  for (;;) thread.serve();
}

/** A result that a thread leaves for who runs it: JSON in shared memory. */
export class ResultText {
  readonly buffer: SharedArrayBuffer;
  readonly #length: Uint32Array;

  constructor(buffer: SharedArrayBuffer = new SharedArrayBuffer(64 * 1024)) {
    this.buffer = buffer;
    this.#length = new Uint32Array(buffer, 0, 1);
  }

  write(result: ThreadResult | { readonly failure: string } | undefined): void {
    const encoded = result === undefined ? new Uint8Array(0) : new TextEncoder().encode(JSON.stringify(result));
    assert(encoded.length <= this.buffer.byteLength - 4, "a result has room");
    new Uint8Array(this.buffer, 4).set(encoded);
    this.#length[0] = encoded.length;
  }

  read(): ThreadResult | { readonly failure: string } | undefined {
    // A copy: TextDecoder takes no shared memory.
    const text = new TextDecoder().decode(new Uint8Array(this.buffer, 4, this.#length[0]).slice());
    return text === "" ? undefined : (JSON.parse(text) as ThreadResult | { readonly failure: string });
  }
}

class SteppedThread<Task, Opened> implements Steps {
  readonly #program: SteppedProgram<Task, Opened>;
  readonly #number: number;
  readonly #port: MessagePort;
  readonly #turns: Turns;
  readonly #log: EventLog;
  readonly #text: ResultText;
  #subject: Subject<Task> | undefined;

  constructor(program: SteppedProgram<Task, Opened>, { turns, log, text, number, port }: StartData) {
    this.#program = program;
    this.#number = number;
    this.#port = port;
    this.#turns = new Turns(number, turns);
    this.#log = new EventLog(log);
    this.#text = new ResultText(text);
  }

  /** Follows one order. */
  serve(): void {
    this.#turns.waitForTurn();
    const { order: told } = this.#turns;
    if (told === order.prepare) {
      this.#prepare();
      this.#turns.leaveTo(this.#number === 1 ? 2 : 0);
    } else this.#run(told === order.runFirst ? 1 : 2);
  }

  #prepare(): void {
    const received = receiveMessageOnPort(this.#port);
    assert(received !== undefined, "a subject was sent");
    const subject = received.message as Subject<Task>;
    this.#subject = subject;
    this.#turns.watch(subject.buffers);
  }

  pass(): void {
    this.#turns.pass(this.#log);
  }

  wait(words: Int32Array, at: number, value: number): void {
    this.#turns.wait(words, at, value);
  }

  #run(first: number): void {
    let next = 0;
    try {
      const { isLast, result } = this.#operate(first);
      this.#text.write(result);
      // The other one has ended before and sleeps: it is asked what it sees now.
      if (isLast) next = this.#other;
    } catch (error) {
      this.#text.write({ failure: String((error as Error).stack).slice(0, MAX_STACK) });
    }
    this.#turns.leaveTo(next);
  }

  #operate(first: number): { isLast: boolean; result: ThreadResult } {
    const turns = this.#turns;
    const { task } = this.#subject as Subject<Task>;
    const opened = this.#attach();
    // A attaches, then B, and then one of them begins.
    if (this.#number === 2) turns.start();
    if (this.#number === 1 || first === 1) turns.yieldTo(this.#other);
    const [begin, isAfter] = [this.#log.count, turns.isOtherDone];
    const answer = this.#program.operate(opened, this.#name, task);
    const end = this.#log.count;
    const isLast = turns.end();
    if (!isLast) turns.yieldTo(this.#other);
    return { isLast, result: { begin, end, isAfter, answer, view: this.#program.view?.(opened, task) ?? "" } };
  }

  get #name(): ThreadName {
    return this.#number === 1 ? "A" : "B";
  }

  get #other(): number {
    return 3 - this.#number;
  }

  #attach(): Opened {
    const { image, recorded, task } = this.#subject as Subject<Task>;
    const recording = new Recording(new Uint8Array(image), new Uint8Array(recorded));
    recording.before = (event) => {
      if (this.#program.isStep?.(event) ?? event.kind !== "flush") this.pass();
      this.#log.add(event);
    };
    const thread = this.#number + 1;
    const memory =
      this.#program.stepsAtLoads?.(this.#name, task) === true
        ? new SteppedMemory(recording, thread, () => this.pass())
        : new RecordingMemory(recording, thread);
    return this.#program.attach(memory, this, task);
  }
}
