/**
 * Two real threads on one name, stepped: whenever one is about to store, fence, take a lock or has given one back, the
 * other may go on instead. All schedules with few preemptions are run, and every crash state of every one is judged.
 */
import { crc32 } from "node:zlib";
import { attachMemory } from "../../src/format/index.ts";
import { type OpenRegion, PageRegion } from "../../src/region/index.ts";
import {
  type CrashImage,
  type CrashModel,
  type MemoryEvent,
  parseSchedule,
  type Random,
  Recording,
  RecordingMemory,
  type Schedule,
  type SteppedRun,
  SteppedThreads,
  schedulesWithin,
  scheduleText,
  seeded,
} from "../../src/testing/index.ts";
import { Judge, type Tally, Violation } from "./judge.ts";
import { Outcomes, type Progress } from "./outcomes.ts";
import { type Budget, crashModel, freshSubject, goesOnUntil, type ModelName, perform } from "./sequences.ts";
import type { StepTask } from "./stepped-region.ts";
import { steppedScenarios } from "./stepped-scenarios.ts";
import type { World } from "./world.ts";

/** What a search over steps has done. */
export interface StepsTally extends Tally {
  scenarios: number;
  /** Of the scenarios, those of which all schedules were run. */
  complete: number;
  schedules: number;
  steps: number;
}

/** How many schedules are run: all with so many preemptions, as far as the time of a processor allows. */
export interface StepsBudget extends Budget {
  readonly preemptions: number;
  /** Every load is a step, too. */
  readonly loads: boolean;
}

/** Runs the schedules of scenarios, those with fewer preemptions first. @throws Violation */
export function runSteps(model: ModelName, seed: number, budget: StepsBudget, names: readonly string[]): StepsTally {
  using threads = new SteppedThreads<StepTask>(program);
  const dice = new EventDice(seed);
  const judge = new Judge(() => dice.next());
  const counts = { scenarios: names.length, complete: 0, schedules: 0, steps: 0 };
  let left = budget.cpuSeconds ?? Number.POSITIVE_INFINITY;
  for (const [at, name] of names.entries()) {
    // What one scenario leaves of its share the others have.
    const began = process.cpuUsage();
    const goesOn = goesOnUntil(judge.tally, { ...budget, cpuSeconds: left / (names.length - at) });
    const search = new Search(threads, name, { ...budget, model, judge, dice });
    let isComplete = true;
    for (const run of schedulesWithin(budget.preemptions, (schedule) => search.run(schedule))) {
      counts.schedules++;
      counts.steps += run.steps.length;
      isComplete = goesOn();
      if (!isComplete) break;
    }
    if (isComplete) counts.complete++;
    const { user, system } = process.cpuUsage(began);
    left -= (user + system) / 1e6;
  }
  return { ...judge.tally, operations: 2 * counts.schedules, ...counts };
}

/** Runs one schedule of a scenario, and tells what happened in it. @throws Violation */
export function runSchedule(
  model: ModelName,
  seed: number,
  budget: StepsBudget,
  [name, text]: readonly [name: string, schedule: string],
): StepsTally {
  using threads = new SteppedThreads<StepTask>(program);
  const dice = new EventDice(seed);
  const judge = new Judge(() => dice.next());
  const search = new Search(threads, name, { ...budget, model, judge, dice });
  const run = search.execute(parseSchedule(text));
  for (const line of describeRun(run)) process.stdout.write(`${line}\n`);
  search.judge(run);
  return { ...judge.tally, operations: 2, scenarios: 1, complete: 0, schedules: 1, steps: run.steps.length };
}

/** Every step with the events in it, and what both threads answered. */
function describeRun({ steps, events, threads }: SteppedRun): string[] {
  const lines = steps.map(({ thread, events: from }, at) => {
    const within = events.slice(from, steps[at + 1]?.events ?? events.length);
    return `${at} ${thread} ${within.map(describeEvent).join(", ")}`;
  });
  return [...lines, ...threads.map(({ answer, view }) => `answer "${answer}", sees\n${view}`)];
}

function describeEvent(event: MemoryEvent): string {
  if (event.kind === "fence") return "fence";
  return `${event.kind} ${event.offset}+${event.kind === "store" ? event.bytes.length : event.lengthBytes}`;
}

const program = new URL("./stepped-region.js", import.meta.url);

/** Random numbers that depend on the event at hand only, so that it tears alike in all schedules. */
class EventDice {
  readonly #seed: number;
  #random: Random;

  constructor(seed: number) {
    this.#seed = seed;
    this.#random = seeded(seed);
  }

  next(): number {
    return this.#random();
  }

  take(event: MemoryEvent): void {
    this.#random = seeded(this.#seed + (event.kind === "store" ? event.offset : 0));
  }
}

interface Tools {
  readonly model: ModelName;
  readonly judge: Judge;
  readonly dice: EventDice;
  readonly exhaustive?: number;
  readonly loads: boolean;
}

/** The runs of one scenario. */
class Search {
  readonly #threads: SteppedThreads<StepTask>;
  readonly #name: string;
  readonly #tools: Tools;
  readonly #world: World;
  readonly #model: CrashModel;
  readonly #outcomes = new Map<string, Outcomes>();
  /** Moments that were judged, by what was allowed. */
  readonly #moments = new Map<readonly string[], Set<string>>();
  readonly #losesPages: boolean;
  /** Pages that the next owner counts free, by the key of what it finds. */
  readonly #free = new Map<number, number>();

  constructor(threads: SteppedThreads<StepTask>, name: string, tools: Tools) {
    this.#threads = threads;
    this.#name = name;
    this.#tools = tools;
    const { setup, a, b } = steppedScenarios[name];
    this.#losesPages = [...setup, a, b].some((operation) => /pending|save over|volatile/.test(operation.name));
    const fresh = freshSubject();
    this.#world = fresh.world;
    const buffer = new SharedArrayBuffer(fresh.recording.recorded.length);
    new Uint8Array(buffer).set(fresh.recording.recorded);
    const recording = new Recording(new Uint8Array(buffer));
    const memory = new RecordingMemory(recording);
    const attached = attachMemory<OpenRegion>(memory);
    const region = new PageRegion(memory, attached);
    for (const operation of setup) perform({ recording, region, world: this.#world }, operation);
    const handle = attached.handle.share();
    const task = { scenario: name, handle, loads: tools.loads, now: Date.now() };
    threads.prepare({ image: buffer, buffers: buffersIn(handle), task });
    this.#model = crashModel(tools.model, threads.startImage, () => tools.dice.next(), tools.exhaustive);
  }

  /** Runs a schedule, and judges it. */
  run(schedule: Schedule): SteppedRun {
    const run = this.execute(schedule);
    this.judge(run);
    return run;
  }

  execute(schedule: Schedule): SteppedRun {
    try {
      return this.#threads.run(schedule);
    } catch (error) {
      throw new Violation(`${this.#name}, schedule ${scheduleText(schedule)}: ${(error as Error).message}`);
    }
  }

  judge({ events, steps, schedule, threads }: SteppedRun): void {
    const label = `${this.#name}, schedule ${scheduleText(schedule)}`;
    const { judge, dice } = this.#tools;
    const outcomes = this.#outcomesOf(threads);
    const [a, b] = threads;
    if (!outcomes.isExplained) {
      throw new Violation(`${label}: no order of the two explains "${a.answer}" and "${b.answer}"`);
    }
    // A crash before the last preemption is one of the schedule that is preempted once less.
    const from = schedule.preemptions.length === 0 ? 0 : steps[schedule.preemptions.at(-1) ?? 0].events;
    const model = this.#model.fork();
    events.forEach((event, at) => {
      const allowed = outcomes.texts(progressAt(a, at), progressAt(b, at));
      if (at >= from && this.#isNew(model, event, allowed)) {
        dice.take(event);
        for (const crash of model.during(event)) judge.judge(crash, allowed, `${label}, event ${at}`);
      }
      model.add(event);
    });
    this.#judgeEnd(model, threads, outcomes, label);
  }

  /** Many schedules come to the same moment, with the same states allowed. */
  #isNew(model: CrashModel, event: MemoryEvent, allowed: readonly string[]): boolean {
    if (event.kind === "flush") return false;
    const moments = this.#moments.get(allowed) ?? new Set<string>();
    this.#moments.set(allowed, moments);
    const moment = `${model.key} ${event.kind === "store" ? `${event.offset} ${crc32(event.bytes)}` : event.kind}`;
    return moments.size < moments.add(moment).size;
  }

  #judgeEnd(model: CrashModel, [a, b]: SteppedRun["threads"], outcomes: Outcomes, label: string): void {
    if (a.view !== b.view) throw new Violation(`${label}: A sees\n${a.view}\nB sees\n${b.view}`);
    const [, view, free] = /^([^]*)\n(\d+) free$/.exec(a.view) ?? [];
    const allowed = outcomes.ends(view);
    if (allowed.length === 0) throw new Violation(`${label}: at the end both see\n${a.view}`);
    for (const crash of model.now()) {
      this.#tools.judge.judge(crash, allowed, `${label}, at the end`);
      // The next owner drops what is pending, and frees what is volatile.
      if (!this.#losesPages && this.#freeAfter(crash) !== Number(free)) {
        throw new Violation(`${label}: the threads count ${free} pages free, the next owner ${this.#freeAfter(crash)}`);
      }
    }
  }

  #freeAfter(crash: CrashImage): number {
    let free = this.#free.get(crash.key);
    if (free === undefined) {
      free = attachMemory<OpenRegion>(new RecordingMemory(new Recording(crash.bytes()))).handle.core.freeCount;
      this.#free.set(crash.key, free);
    }
    return free;
  }

  #outcomesOf([a, b]: SteppedRun["threads"]): Outcomes {
    const first = b.isAfter ? 0 : a.isAfter ? 1 : undefined;
    const key = `${a.answer}\n${b.answer}\n${first}`;
    let outcomes = this.#outcomes.get(key);
    if (outcomes === undefined) {
      const scenario = steppedScenarios[this.#name];
      const pair = [
        { operation: scenario.a, answer: a.answer },
        { operation: scenario.b, answer: b.answer },
      ] as const;
      outcomes = new Outcomes(this.#world, pair, first);
      this.#outcomes.set(key, outcomes);
    }
    return outcomes;
  }
}

function progressAt({ begin, end }: { begin: number; end: number }, at: number): Progress {
  return at < begin ? "not begun" : at < end ? "running" : "returned";
}

/** Every shared buffer in a handle, whatever it is nested in. */
function buffersIn(value: unknown): SharedArrayBuffer[] {
  if (value instanceof SharedArrayBuffer) return [value];
  return typeof value === "object" && value !== null ? Object.values(value).flatMap(buffersIn) : [];
}
