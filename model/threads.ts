import { Expected } from "./expected.ts";
import { assertAtRest, type CrashKind, imageHash, recover, Violation } from "./judge.ts";
import { killImages } from "./kill.ts";
import { chunkPages, firstPage } from "./layout.ts";
import { Media, type MediaEvent } from "./media.ts";
import type { Mutants } from "./mutant-names.ts";
import type { Reading, Result } from "./page-operations.ts";
import { PowerCut } from "./power.ts";
import { Random } from "./random.ts";
import { analyze, format, open } from "./recovery.ts";
import type { Region, RegionOptions } from "./region.ts";
import type { Scenario } from "./scenarios.ts";
import type { Report } from "./sequences.ts";
import { type Condition, run, type Task } from "./tasks.ts";
import { Writer } from "./writer.ts";

/** Two threads: schedules of a scenario, each cut off at every store. */
export interface ThreadOptions {
  readonly crash: CrashKind;
  readonly mutants: Mutants;
  readonly seed: number;
  /** Switches away from a thread that could go on, at most. */
  readonly preemptions: number;
  /** Schedules in order, up to this many; when there are more, as many again at random. */
  readonly schedules: number;
  readonly stripes: number;
}

const cutImages = 32;
/** No operation of a scenario takes as many steps. */
const stepLimit = 600;

type Answer = Result | Reading;

/** What is known of one operation of a thread. */
interface Progress {
  answer: Answer | undefined;
  ended: boolean;
  /** Operations of the other thread that had ended when this one began: they come before it. */
  readonly after: number;
}

interface Thread {
  readonly writer: Writer;
  readonly progress: Progress[];
  task: Task<Answer> | undefined;
  waitsFor: Condition | undefined;
}

/** Runs the schedules of a scenario until all or enough were tried or something is wrong. */
export function exploreScenario(name: string, scenario: Scenario, options: ThreadOptions): Report {
  const explorer = new Explorer(name, scenario, options);
  let violation: string | undefined;
  try {
    explorer.explore();
  } catch (error) {
    if (!(error instanceof Violation)) throw error;
    violation = error.message;
  }
  return { states: explorer.states, nested: 0, repeats: explorer.repeats, runs: explorer.schedules, violation };
}

class Explorer {
  states = 0;
  repeats = 0;
  schedules = 0;
  readonly #name: string;
  readonly #scenario: Scenario;
  readonly #options: ThreadOptions;
  readonly #regionOptions: RegionOptions;
  readonly #random: Random;
  readonly #media: Media = new Media();
  readonly #region: Region;
  readonly #expected: Expected = new Expected();
  readonly #allowed: Map<string, ReadonlySet<string>> = new Map();
  readonly #seen: Set<string> = new Set();
  readonly #scratch: Media = new Media();

  constructor(name: string, scenario: Scenario, options: ThreadOptions) {
    this.#name = name;
    this.#scenario = scenario;
    this.#options = options;
    this.#regionOptions = { mutants: options.mutants, limbo: false, stripes: options.stripes };
    this.#random = new Random(options.seed);
    format(this.#media, firstPage + chunkPages);
    this.#region = open(this.#media, this.#regionOptions);
    const writer = new Writer(this.#region, 0);
    for (const operation of scenario.setup) {
      const answer = run(operation.start(writer));
      if (answer !== "done" || !operation.apply(this.#expected, answer)) {
        throw new Error(`${name}: ${operation.title} of the setup: ${String(answer)}`);
      }
    }
  }

  /** Depth first over the choices of the scheduler; the part that two schedules share is judged once. */
  explore(): void {
    let plan: number[] = [];
    let shared = 0;
    while (this.schedules < this.#options.schedules) {
      const choices = this.#replay((step) => plan[step] ?? 0, shared);
      const taken = choices.map((_, step) => plan[step] ?? 0);
      let last = choices.length - 1;
      while (last >= 0 && taken[last] + 1 >= choices[last]) last--;
      if (last < 0) return;
      plan = [...taken.slice(0, last), taken[last] + 1];
      shared = last;
    }
    const enough = 2 * this.#options.schedules;
    while (this.schedules < enough) this.#replay(() => (this.#random.chance(0.2) ? 1 : 0), 0);
  }

  /** Runs one schedule. `choose` picks among the threads that can go on; 0 is to stay. Returns how many there were. */
  #replay(choose: (step: number) => number, shared: number): number[] {
    const media = new Media(this.#media.words.slice());
    const events = media.record();
    const region = this.#region.copy(media);
    const image = media.words.slice();
    const cut = new PowerCut(image);
    const threads = [0, 1].map((thread): Thread => {
      return { writer: new Writer(region, thread), progress: [], task: undefined, waitsFor: undefined };
    });
    const choices: number[] = [];
    const schedule: number[] = [];
    let current = -1;
    let switches = 0;
    for (let step = 0; ; step++) {
      const ready = threads.map((_, k) => k).filter((k) => this.#canRun(threads[k], k));
      if (ready.length === 0) break;
      if (step > stepLimit) throw new Violation(`${this.#title(threads, schedule)}: no end`);
      const canStay = ready.includes(current);
      let order = canStay ? [current, ...ready.filter((k) => k !== current)] : ready;
      const inOnePiece = this.#scenario.otherInOnePiece === true && current === 1 && threads[1].task !== undefined;
      if (canStay && (inOnePiece || switches >= this.#options.preemptions)) order = [current];
      const next = order[Math.min(choose(step), order.length - 1)];
      choices.push(order.length);
      if (canStay && next !== current) switches++;
      current = next;
      schedule.push(next);
      const before = events.length;
      const returned = this.#step(threads, next);
      const fresh = events.slice(before);
      if (step < shared) {
        for (const event of fresh) this.#pass(event, image, cut);
      } else {
        this.#crashEverywhere(fresh, image, cut, threads, schedule, returned);
      }
    }
    this.schedules++;
    this.#judgeEnd(threads, region, schedule);
    return choices;
  }

  #canRun(thread: Thread, number: number): boolean {
    const started = thread.progress.length;
    if (thread.task === undefined) return started < this.#scenario.threads[number].length;
    return thread.waitsFor === undefined || thread.waitsFor();
  }

  /** Lets a thread go on to its next scheduling point. Returns whether it ended an operation. */
  #step(threads: Thread[], number: number): boolean {
    const thread = threads[number];
    if (thread.task === undefined) {
      const other = threads[1 - number].progress.filter(({ ended }) => ended).length;
      thread.task = this.#scenario.threads[number][thread.progress.length].start(thread.writer);
      thread.progress.push({ answer: undefined, ended: false, after: other });
    }
    const result = thread.task.next();
    thread.waitsFor = result.done ? undefined : result.value;
    if (!result.done) return false;
    const progress = thread.progress[thread.progress.length - 1];
    progress.ended = true;
    progress.answer = result.value;
    thread.task = undefined;
    return true;
  }

  #pass(event: MediaEvent, image: Uint32Array, cut: PowerCut): void {
    if (event.kind === "store") image.set(event.values, event.word);
    if (this.#options.crash === "power") cut.feed(event);
  }

  #crashEverywhere(
    events: readonly MediaEvent[],
    image: Uint32Array,
    cut: PowerCut,
    threads: Thread[],
    schedule: readonly number[],
    returned: boolean,
  ): void {
    // Until the operation has returned in the eyes of its caller, a crash may leave it undone.
    const progress = threads[schedule[schedule.length - 1]].progress;
    const last = progress[progress.length - 1];
    const running: Progress = { answer: undefined, ended: false, after: last.after };
    progress[progress.length - 1] = running;
    const judge = (state: Uint32Array): void => this.#judge(state, threads, schedule);
    if (this.#options.crash === "kill") killImages(image, events, this.#random, judge);
    for (const event of events) {
      if (this.#options.crash !== "power") break;
      if (event.kind === "fence") cut.images(cutImages, this.#random, judge);
      cut.feed(event);
    }
    progress[progress.length - 1] = last;
    if (!returned) return;
    if (this.#options.crash === "kill") judge(image);
    else cut.images(cutImages, this.#random, judge);
  }

  #judge(image: Uint32Array, threads: Thread[], schedule: readonly number[]): void {
    const status = statusOf(threads);
    const key = `${imageHash(image)} ${status}`;
    if (this.#seen.has(key)) {
      this.repeats++;
      return;
    }
    this.#seen.add(key);
    this.states++;
    const allowed = this.#allowedTexts(threads, status);
    const title = (): string => this.#title(threads, schedule);
    if (allowed.size === 0) throw new Violation(`${title()}: the answers fit no order of the operations`);
    this.#scratch.words.set(image);
    const { region, checked } = recover(this.#scratch, this.#regionOptions, title());
    if (!allowed.has(checked.text)) {
      throw new Violation(`${title()}: found "${checked.text}", allowed ${[...allowed].join(" | ")}`);
    }
    if (checked.free !== region.free.length) throw new Violation(`${title()}: pages leaked`);
  }

  /** When both are through, media, page tables and free list agree and nothing is left to recover. */
  #judgeEnd(threads: Thread[], region: Region, schedule: readonly number[]): void {
    const title = this.#title(threads, schedule);
    const stuck = threads.some(
      ({ progress }, k) => progress.filter(({ ended }) => ended).length < this.#scenario.threads[k].length,
    );
    if (stuck) throw new Violation(`${title}: deadlock`);
    if (this.#scenario.transient !== true) return assertAtRest(region, title);
    const { findings } = analyze(region.media.words, region.mutants);
    if (findings.length > 0) throw new Violation(`${title}, at rest: ${findings[0]}`);
  }

  /**
   * What may be found: the state after any order of the operations that keeps each thread's order and real time,
   * holds all that have returned, with the answers they gave, and any of those under way.
   */
  #allowedTexts(threads: Thread[], status: string): ReadonlySet<string> {
    const known = this.#allowed.get(status);
    if (known !== undefined) return known;
    const texts = new Set<string>();
    const go = (expected: Expected, next: readonly number[]): void => {
      const complete = threads.every(({ progress }, k) => progress.every(({ ended }, n) => n < next[k] || !ended));
      if (complete) texts.add(expected.text());
      for (const [k, { progress }] of threads.entries()) {
        const one = progress[next[k]];
        if (one === undefined || one.after > next[1 - k]) continue;
        const copy = expected.copy();
        if (!this.#scenario.threads[k][next[k]].apply(copy, one.answer)) continue;
        go(copy, next.with(k, next[k] + 1));
      }
    };
    go(this.#expected, [0, 0]);
    this.#allowed.set(status, texts);
    return texts;
  }

  #title(threads: Thread[], schedule: readonly number[]): string {
    return `${this.#name}, schedule ${schedule.join("")}, ${statusOf(threads)}`;
  }
}

function statusOf(threads: Thread[]): string {
  const one = ({ answer, ended, after }: Progress): string => `${ended ? String(answer) : "running"} after ${after}`;
  return threads.map(({ progress }) => progress.map(one).join(", ")).join(" beside ");
}
