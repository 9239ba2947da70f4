/**
 * Two threads in one: at every event of an operation A of the first thread, an operation B of a second one runs as a
 * whole, unless a lock keeps it out; and a crash is tried at every event of both. The two threads share what the
 * threads of a writer share, and each has a memory handle, locks and fences of its own.
 */
import { isPerdureError, PerdureError } from "../../src/base/index.ts";
import { attachMemory } from "../../src/format/index.ts";
import { type OpenRegion, PageRegion } from "../../src/region/index.ts";
import { waiting } from "../../src/region/locks.ts";
import { type MemoryEvent, type Random, Recording, RecordingMemory, seeded } from "../../src/testing/index.ts";
import { checkImage } from "./checker.ts";
import { Judge, type Tally, Violation } from "./judge.ts";
import { layerScenarios } from "./layer-scenarios.ts";
import {
  create,
  createPending,
  diskTrim,
  diskWrite,
  ensure,
  ensureRun,
  ensureVolatile,
  free,
  freeRun,
  handOver,
  keep,
  type Operation,
  publish,
  remove,
  removePending,
  resize,
  savePage,
  setAttribute,
  write,
  writePending,
} from "./operations.ts";
import { crashModel, freshSubject, type ModelName, perform } from "./sequences.ts";
import { storeSites } from "./store-sites.ts";
import type { World } from "./world.ts";

/** What both threads start from, and what each does. */
export interface Scenario {
  readonly setup: readonly Operation[];
  readonly a: Operation;
  readonly b: Operation;
  /** B writes block by block, so it may be kept out between two blocks. */
  readonly series?: true;
  /** The other way round one waits after its first store, which it cannot do here, or meets a page that is held. */
  readonly oneWay?: true;
}

const base = [
  create("ann", 300),
  create("bob", 300),
  write("ann", 0, "both", 1),
  write("ann", 255, "both", 2),
  write("bob", 0, "both", 3),
];

/** What the ballast, two records and three pages leave below the mark: the next fresh page raises it. */
const LEFT_BELOW_MARK = 23;
const toTheMark = (): Operation[] =>
  Array.from({ length: LEFT_BELOW_MARK }, (_, k) => write("bob", 10 + k, "both", 50 + k));

/** The names are those of the hazards. */
export const scenarios: Readonly<Record<string, Scenario>> = {
  "two writes of one page": { setup: base, a: write("ann", 0, "both", 101), b: write("ann", 0, "both", 102) },
  "two halves of one page": { setup: base, a: write("ann", 0, 0, 101), b: write("ann", 0, 1, 102) },
  "two writes of a page that is not there": {
    setup: base,
    a: write("ann", 3, "both", 101),
    b: write("ann", 3, "both", 102),
  },
  "a hand-over onto a page whose revision wraps": {
    setup: [...base, write("bob", 0, "both", 4), write("bob", 0, "both", 5), write("bob", 0, "both", 6)],
    a: handOver("ann", 0, "bob", 0),
    b: write("bob", 0, 1, 102),
  },
  "a freed page against a new one": { setup: base, a: free("ann", 0), b: write("bob", 1, "both", 101) },
  "ensure against ensure": { setup: base, a: ensure("ann", 3), b: ensure("ann", 3) },
  "write against free": { setup: base, a: write("ann", 0, "both", 101), b: free("ann", 0) },
  "free against write": { setup: base, a: free("ann", 0), b: write("ann", 0, 0, 101) },
  "hand-over against write of its source": { setup: base, a: handOver("ann", 0, "bob", 7), b: write("ann", 0, 0, 101) },
  "hand-over against write of its target": { setup: base, a: handOver("ann", 0, "bob", 0), b: write("bob", 0, 0, 101) },
  "hand-overs of one page": { setup: base, a: handOver("ann", 0, "bob", 7), b: handOver("ann", 0, "bob", 8) },
  "hand-overs in both directions": { setup: base, a: handOver("ann", 0, "bob", 0), b: handOver("bob", 0, "ann", 0) },
  "delete against write": { setup: base, a: remove("ann"), b: write("ann", 0, "both", 101) },
  "write against delete": { setup: base, a: write("ann", 0, 0, 101), b: remove("ann") },
  "delete against create": { setup: base, a: remove("ann"), b: create("cid", 300) },
  "create against create of one name": { setup: base, a: create("cid", 300), b: create("cid", 300) },
  "create against create": { setup: base, a: create("cid", 300), b: create("dan", 300) },
  "shrink against write": { setup: base, a: resize("ann", 2), b: write("ann", 255, 0, 101) },
  "write against shrink": { setup: base, a: write("ann", 255, 0, 101), b: resize("ann", 2) },
  "hand-over against shrink of its target": { setup: base, a: handOver("ann", 0, "bob", 256), b: resize("bob", 2) },
  "resize against attributes": { setup: base, a: resize("ann", 256), b: setAttribute("ann", 7) },
  "two writes that raise the mark": {
    setup: [...base, ...toTheMark()],
    a: write("ann", 1, "both", 101),
    b: write("ann", 2, "both", 102),
  },
  // Long enough that head and tails lie in several cache lines.
  "a run against a page": { setup: base, a: ensureRun("ann", 16, 4), b: write("ann", 20, "both", 101) },
  "free of a run against a page": {
    setup: [...base, ensureRun("ann", 4, 2)],
    a: freeRun("ann", 4),
    b: write("bob", 1, "both", 101),
  },
  "keep against write": {
    setup: [...base, ensureVolatile("ann", 3, 77)],
    a: keep("ann", 3),
    b: write("ann", 3, 0, 101),
  },
  "keep against free": { setup: [...base, ensureVolatile("ann", 0, 77)], a: keep("ann", 0), b: free("ann", 0) },
  "publish against write": {
    setup: [...base, createPending("cid", 300), writePending("cid", 0, 9)],
    a: publish("cid"),
    b: write("ann", 0, 0, 101),
  },
  "a save that begins against a write of its source": {
    setup: base,
    a: createPending("cid", 300, "ann"),
    b: write("ann", 0, 0, 101),
  },
  "a page that is saved against a write of it": {
    setup: [...base, createPending("cid", 300, "ann")],
    a: savePage("ann", "cid", 0),
    b: write("ann", 0, 0, 101),
  },
  "a save that is published against a write of its source": {
    setup: [...base, createPending("cid", 300, "ann"), savePage("ann", "cid", 0)],
    a: publish("cid"),
    b: write("ann", 0, 0, 101),
  },
  "a save that is dropped against a write of its source": {
    setup: [...base, createPending("cid", 300, "ann"), savePage("ann", "cid", 0)],
    a: removePending("cid"),
    b: write("ann", 0, 0, 101),
  },
  "disk write against disk write": {
    setup: base,
    a: diskWrite("ann", 254, 3, 101),
    b: diskWrite("ann", 255, 3, 102),
    series: true,
  },
  "disk write against trim": {
    setup: base,
    a: diskWrite("ann", 254, 3, 101),
    b: diskTrim("ann", 254, 3),
    series: true,
  },
  ...layerScenarios,
};

/** One thread's operation in a run: from event `start` to event `end`, with what it answered. */
interface Span {
  start: number;
  end: number;
  refused: boolean;
}

interface Run {
  readonly start: Uint8Array;
  readonly events: MemoryEvent[];
  readonly spanA: Span;
  readonly spanB: Span;
  readonly world: World;
  readonly end: Uint8Array;
  /** A lock kept B out, so it ran after A. */
  readonly keptOut: boolean;
}

/** Runs all scenarios with B at every event of A, and the other way round. @throws Violation */
export function runInterleavings(model: ModelName, seed: number, chosen = scenarios): Tally {
  const random = seeded(seed);
  const judge = new Judge(random);
  for (const [name, scenario] of Object.entries(chosen).flatMap(bothWays)) {
    let serial = false;
    for (let at = 0; ; at++) {
      const run = interleave(scenario, at, name);
      if (run === "past the end") break;
      // Wherever B is kept out, it runs after A: one such run stands for all. A series was half done before.
      if (run.keptOut && (serial || scenario.series === true)) continue;
      serial ||= run.keptOut;
      judge.tally.operations++;
      judgeRun(model, judge, random, scenario, run, `${name}, B at event ${at}`);
    }
  }
  return judge.tally;
}

function bothWays([name, scenario]: [string, Scenario]): [string, Scenario][] {
  // A pending instance is reached by a handle only, which the first thread has.
  const isPending = scenario.setup.some((operation) => /pending|save over/.test(operation.name));
  if (isPending || scenario.oneWay === true) return [[name, scenario]];
  return [
    [name, scenario],
    [`${name}, the other way round`, { ...scenario, a: scenario.b, b: scenario.a }],
  ];
}

/** B is kept out: it would have waited until A is done. */
class KeptOut extends PerdureError {}

function interleave(scenario: Scenario, at: number, name: string): Run | "past the end" {
  const fresh = freshSubject();
  const recording = new Recording(fresh.recording.recorded.slice());
  const attached = attachMemory<OpenRegion>(new RecordingMemory(recording, 1));
  const first = new PageRegion(new RecordingMemory(recording, 1), attached);
  const memory = new RecordingMemory(recording, 2);
  const second = new PageRegion(memory, { ...attached, handle: attached.handle.forThread(memory, 2) });
  const { world } = fresh;
  for (const operation of scenario.setup) perform({ recording, region: first, world }, operation);
  recording.events = [];
  const start = recording.recorded.slice();
  const spanB: Span = { start: -1, end: -1, refused: false };
  let count = 0;
  let keptOut = false;
  recording.before = (event) => {
    if (event.thread !== 1 || count++ !== at) return;
    spanB.start = recording.events.length;
    keptOut = !alone(
      () => {
        spanB.refused = !attempt(() => scenario.b.run(second), name);
      },
      scenario.series === true ? undefined : memory,
    );
    spanB.end = recording.events.length;
  };
  const spanA: Span = { start: 0, end: 0, refused: !attempt(() => scenario.a.run(first), name) };
  spanA.end = recording.events.length;
  if (spanB.start < 0) return "past the end";
  if (keptOut) {
    spanB.start = recording.events.length;
    spanB.refused = !attempt(() => scenario.b.run(second), name);
    spanB.end = recording.events.length;
  }
  return { keptOut, start, events: recording.events, spanA, spanB, world, end: recording.recorded };
}

/** Runs thread B, which must not wait: who holds the lock is the one that called. @returns false if it would */
function alone(act: () => void, memory: RecordingMemory | undefined): boolean {
  const { wait } = waiting;
  waiting.wait = () => {
    if (memory !== undefined && memory.stores > 0) throw new Error("a thread waits for another after its first store");
    throw new KeptOut("EBUSY", "kept out");
  };
  try {
    act();
    return true;
  } catch (error) {
    if (error instanceof KeptOut) return false;
    throw error;
  } finally {
    waiting.wait = wait;
  }
}

/** @returns false when the operation was refused, as one that finds nothing is */
function attempt(act: () => void, name: string): boolean {
  try {
    act();
    return true;
  } catch (error) {
    if (error instanceof KeptOut) throw error;
    if (isPerdureError(error)) return false;
    throw new Violation(`${name}: ${(error as Error).stack}`);
  }
}

function judgeRun(name: ModelName, judge: Judge, random: Random, scenario: Scenario, run: Run, label: string): void {
  const orders = ordersOf(scenario, run);
  if (orders.both.length === 0) throw new Violation(`${label}: no order of the two explains their answers`);
  const model = crashModel(name, run.start, random);
  run.events.forEach((event, at) => {
    const allowed = allowedAt(orders, run, at);
    for (const crash of model.during(event)) judge.judge(crash, allowed, `${label}, event ${at}`);
    model.add(event);
    if (storeSites.note(event)) for (const crash of model.now()) judge.judge(crash, allowed, `${label}, event ${at}`);
  });
  const { text } = checkImage(recovered(run.end, label));
  if (!orders.both.includes(text))
    throw new Violation(`${label}: at the end\n${text}\nallowed\n${orders.both.join("\n  or\n")}`);
  for (const crash of model.now()) judge.judge(crash, orders.both, `${label}, at the end`);
}

function recovered(image: Uint8Array, label: string): Uint8Array {
  const recording = new Recording(image.slice());
  try {
    PageRegion.attach(new RecordingMemory(recording));
  } catch (error) {
    throw new Violation(`${label}: does not open: ${(error as Error).message}`);
  }
  return recording.recorded;
}

/** Texts by what has been done: nothing, some of A alone, some of B alone, both. */
interface Orders {
  readonly a: string[];
  readonly b: string[];
  readonly both: string[];
  /** With both begun, and neither or one of them ended. */
  readonly middle: string[];
}

function ordersOf({ a, b }: Scenario, { world, spanA, spanB }: Run): Orders {
  const aSteps = stepsOf(world, a, spanA.refused);
  const bSteps = stepsOf(world, b, spanB.refused);
  const aThenB = aSteps === undefined ? undefined : stepsOf(last(aSteps), b, spanB.refused);
  const bThenA = bSteps === undefined ? undefined : stepsOf(last(bSteps), a, spanA.refused);
  const both = [aThenB, bThenA].filter((steps) => steps !== undefined).map((steps) => last(steps).text());
  // Operations of several blocks may mix block by block.
  const mixed = mixesOf(world, a, b);
  const texts = (steps: World[] | undefined): string[] => (steps ?? []).map((step) => step.text());
  return {
    a: [world.text(), ...texts(aSteps)],
    b: [world.text(), ...texts(bSteps)],
    both: [...both, ...mixed.ends],
    middle: [...texts(aThenB), ...texts(bThenA), ...mixed.all],
  };
}

const last = (steps: World[]): World => steps[steps.length - 1];

/** The worlds after each step of an operation, or undefined when the model answers otherwise than the region did. */
function stepsOf(world: World, operation: Operation, refused: boolean): World[] | undefined {
  const copy = world.copy();
  const steps: World[] = [];
  try {
    for (const step of operation.steps) {
      step(copy);
      steps.push(copy.copy());
    }
  } catch {
    return refused ? [world.copy()] : undefined;
  }
  return refused ? undefined : steps;
}

/** All ways to mix the steps of two operations of several blocks. */
function mixesOf(world: World, a: Operation, b: Operation): { all: string[]; ends: string[] } {
  const all: string[] = [];
  const ends: string[] = [];
  if (a.steps.length < 2 || b.steps.length < 2) return { all, ends };
  const steps = a.steps.length + b.steps.length;
  for (let mask = 0; mask < 2 ** steps; mask++) {
    if (mask.toString(2).replaceAll("0", "").length !== b.steps.length) continue;
    const copy = world.copy();
    const left = [a.steps[Symbol.iterator](), b.steps[Symbol.iterator]()];
    for (let k = 0; k < steps; k++) {
      left[(mask >>> k) & 1].next().value?.(copy);
      all.push(copy.text());
    }
    ends.push(copy.text());
  }
  return { all, ends };
}

function allowedAt(orders: Orders, { spanB, keptOut }: Run, at: number): readonly string[] {
  if (keptOut && at >= spanB.start) return [orders.a[orders.a.length - 1], ...orders.middle, ...orders.both];
  if (at < spanB.start) return orders.a;
  if (at < spanB.end) return [...orders.a, ...orders.b, ...orders.middle];
  // B has returned, so it must be there, and A may be.
  return [orders.b[orders.b.length - 1], ...orders.middle, ...orders.both];
}
