/**
 * Every sequence of one and of two operations on a fresh small region, and a sample of those of three: most faults that
 * crashes ever uncovered need no more than that.
 */
import { isPerdureError } from "../../src/base/index.ts";
import { PageRegion } from "../../src/region/index.ts";
import {
  below,
  type CrashModel,
  pick,
  type Random,
  Recording,
  RecordingMemory,
  seeded,
} from "../../src/testing/index.ts";
import { Judge, type Tally, Violation } from "./judge.ts";
import {
  changeOver,
  clone,
  createOver,
  discard,
  dropOver,
  promote,
  publishOver,
  rename,
  snapshot,
  undelete,
} from "./layer-operations.ts";
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
import { type Budget, crashModel, freshImage, goesOnUntil, type ModelName, perform, subjectOf } from "./sequences.ts";
import { storeSites } from "./store-sites.ts";
import { World } from "./world.ts";

const PENDING = "eve";

/** What a region is prepared with; one more start is a region that holds nothing. */
export const prepared: readonly Operation[] = [
  create("ann", 300),
  create("bob", 300),
  write("ann", 0, "both", 1),
  write("ann", 255, "both", 2),
  write("bob", 0, "both", 3),
];

/**
 * Every operation of the API with a few arguments each: those that meet each other in one place. The pending instance
 * has a name of its own, since the model cannot hold it beside another of its name.
 */
export const alphabet: readonly Operation[] = [
  create("ann", 300),
  create("cid", 300),
  createPending(PENDING, 300),
  createPending(PENDING, 300, "ann"),
  writePending(PENDING, 0, 11),
  savePage("ann", PENDING, 0),
  publish(PENDING),
  removePending(PENDING),
  write("ann", 0, "both", 12),
  write("ann", 0, 1, 13),
  write("ann", 3, 0, 14),
  write("bob", 0, "both", 15),
  ensure("ann", 3),
  free("ann", 0),
  free("bob", 0),
  handOver("ann", 0, "bob", 0),
  handOver("ann", 0, "bob", 3),
  handOver("bob", 0, "ann", 0),
  handOver("ann", 255, "ann", 3),
  ensureRun("ann", 4, 1),
  freeRun("ann", 4),
  resize("ann", 2),
  resize("ann", 256),
  remove("ann"),
  remove("bob"),
  setAttribute("ann", 7),
  ensureVolatile("ann", 3, 16),
  ensureVolatile("ann", 0, 17),
  keep("ann", 3),
  keep("ann", 0),
  diskWrite("ann", 254, 3, 18),
  diskTrim("ann", 254, 3),
  snapshot("ann", "cid"),
  snapshot("dan", "fay"),
  clone("cid", "dan"),
  promote("cid", "ann"),
  promote("dan", "ann"),
  rename("ann", "dan"),
  discard("ann"),
  discard("cid"),
  remove("cid"),
  remove("dan"),
  remove("fay"),
  undelete("ann", "ann"),
  undelete("cid", "cid"),
  createOver("ann"),
  changeOver("ann", 0, 19),
  changeOver("ann", 255, undefined),
  publishOver("ann"),
  dropOver("ann"),
];

/** A snapshot with a disk and a clone over it, each of which has pages and masks of its own. */
const layered: readonly Operation[] = [
  ...prepared,
  snapshot("ann", "cid"),
  clone("cid", "dan"),
  write("ann", 0, 0, 4),
  free("ann", 255),
  write("dan", 3, "both", 5),
  free("dan", 255),
  snapshot("ann", "fay"),
  free("ann", 0),
];

/** After one in so many sequences the recovery of what they left is crashed, too. */
const RECOVERED_EVERY = 8;

/** All sequences of one and of two operations, from every start. @throws Violation */
export function runPairs(model: ModelName, seed: number, exhaustive?: number): Tally {
  const random = seeded(seed);
  const judge = new Judge(random);
  for (const start of [[], prepared, layered]) {
    for (const first of alphabet) {
      new ShortRun(model, random, judge, start, exhaustive).run([first], 0);
      // What the first of two does was judged when it was alone.
      for (const second of alphabet) new ShortRun(model, random, judge, start, exhaustive).run([first, second], 1);
    }
  }
  return judge.tally;
}

/** Sequences of three operations, chosen at random, until the budget is used up. @throws Violation */
export function runTriples(model: ModelName, seed: number, budget: Budget): Tally {
  const random = seeded(seed);
  const judge = new Judge(random);
  const goesOn = goesOnUntil(judge.tally, budget);
  while (goesOn()) {
    const three = [pick(random, alphabet), pick(random, alphabet), pick(random, alphabet)];
    new ShortRun(model, random, judge, pick(random, [prepared, layered]), budget.exhaustive).run(three, 2);
  }
  return judge.tally;
}

// Two pending ones of one name are possible, but the model knows instances by their names.
function isPending({ name }: Operation): boolean {
  return name.startsWith(`create ${PENDING} pending`);
}

/** Whether the model can say what an operation does to a world: it may be one that makes no sense there. */
export function isExpressible(operation: Operation, world: World): boolean {
  if (isPending(operation) && world.instances.has(PENDING)) return false;
  const copy = world.copy();
  try {
    for (const step of operation.steps) step(copy);
    return true;
  } catch {
    return false;
  }
}

class ShortRun {
  readonly #judge: Judge;
  readonly #random: Random;
  readonly #recording: Recording;
  readonly #region: PageRegion;
  readonly #world = new World();
  readonly #model: CrashModel;

  constructor(
    model: ModelName,
    random: Random,
    judge: Judge,
    start: readonly Operation[],
    exhaustive: number | undefined,
  ) {
    this.#judge = judge;
    this.#random = random;
    this.#recording = new Recording(preparedImage(start));
    this.#region = PageRegion.attach(new RecordingMemory(this.#recording));
    for (const { steps } of start) for (const step of steps) step(this.#world);
    this.#model = crashModel(model, this.#recording.recorded, random, exhaustive);
  }

  /** Runs the operations, and judges those from `from` on. */
  run(operations: readonly Operation[], from: number): void {
    const label = operations.map(({ name }) => name).join(", ");
    for (const [at, operation] of operations.entries()) {
      if (isPending(operation) && this.#world.instances.has(PENDING)) return;
      this.#judge.tally.operations++;
      this.#recording.events = [];
      const allowed = this.#operate(operation, label);
      for (const event of this.#recording.events) {
        if (at >= from) for (const crash of this.#model.during(event)) this.#judge.judge(crash, allowed, label);
        this.#model.add(event);
        if (storeSites.note(event)) for (const crash of this.#model.now()) this.#judge.judge(crash, allowed, label);
      }
      const ended = allowed.slice(-1);
      if (at >= from) for (const crash of this.#model.now()) this.#judge.judge(crash, ended, `${label}, at the end`);
    }
    if (storeSites.isRecording || below(this.#random, RECOVERED_EVERY) === 0) {
      const allowed = [this.#world.text()];
      this.#judge.judgeRecovery(this.#model.fork(), this.#model.latest(), allowed, `${label}, killed at the end`);
    }
  }

  /** Texts of the states that a crash may leave, the last of them the one afterwards. */
  #operate(operation: Operation, label: string): string[] {
    const allowed = [this.#world.text()];
    try {
      operation.run(this.#region);
    } catch (error) {
      // What the region refuses changes nothing.
      if (isRefusal(error)) return allowed;
      throw new Violation(`${label}: ${(error as Error).stack}`);
    }
    for (const step of operation.steps) {
      try {
        step(this.#world);
      } catch (error) {
        throw new Violation(`${label}: the region did what it should refuse: ${(error as Error).message}`);
      }
      allowed.push(this.#world.text());
    }
    return allowed;
  }
}

// A program that names an instance or a pending one that is not there is refused by the test's own handles, too.
function isRefusal(error: unknown): boolean {
  return (isPerdureError(error) && error.code !== "EIO") || (error as Error).message === "no pending instance";
}

const images = new Map<readonly Operation[], Uint8Array>();

function preparedImage(start: readonly Operation[]): Uint8Array {
  let image = images.get(start);
  if (image === undefined) {
    const subject = subjectOf(freshImage(), new World());
    for (const operation of start) perform(subject, operation);
    subject.region[Symbol.dispose]();
    image = subject.recording.recorded;
    images.set(start, image);
  }
  return image.slice();
}
