/**
 * Hazard: a history that nobody thought of, in which a crash or a failing store leaves what was acknowledged behind.
 * Random commands on a region and on its model: operations, crashes after their k-th store, failures of the memory,
 * closes and opens. fast-check shortens a history that fails; PERDURE_SEED, PERDURE_PATH and PERDURE_REPLAY_PATH repeat
 * what it prints.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isPerdureError } from "../src/base/index.ts";
import { PageRegion } from "../src/region/index.ts";
import {
  type FailingCall,
  FailingMemory,
  KillModel,
  Recording,
  RecordingMemory,
  seeded,
} from "../src/testing/index.ts";
import { checkImage } from "./crash/checker.ts";
import { type Operation, write } from "./crash/operations.ts";
import { freshImage } from "./crash/sequences.ts";
import { alphabet, isExpressible, prepared } from "./crash/short-sequences.ts";
import { World } from "./crash/world.ts";
import { seed } from "./support/seed.ts";

const path = process.env["PERDURE_PATH"];
const replayPath = process.env["PERDURE_REPLAY_PATH"];
const HISTORIES = Number(process.env["PERDURE_HISTORIES"] ?? 300);

interface Model {
  world: World;
}

/** The region under test, and what it lives in. */
class Real {
  recording: Recording;
  memory: FailingMemory;
  region: PageRegion;

  constructor(image: Uint8Array) {
    this.recording = new Recording(image.slice());
    this.memory = new FailingMemory(new RecordingMemory(this.recording), "fence", Number.POSITIVE_INFINITY);
    this.region = PageRegion.attach(this.memory);
  }

  /** The next owner takes over what is there. */
  takeOver(image: Uint8Array): void {
    const next = new Real(image);
    this.recording = next.recording;
    this.memory = next.memory;
    this.region = next.region;
  }
}

const textAfterDeath = (image: Uint8Array): string => checkImage(new Real(image).recording.recorded).text;

type Step = fc.Command<Model, Real>;

/** An operation, and whatever ends it early. */
abstract class Operate implements Step {
  readonly operation: Operation;

  constructor(operation: Operation) {
    this.operation = operation;
  }

  check({ world }: Readonly<Model>): boolean {
    return isExpressible(this.operation, world);
  }

  abstract run(model: Model, real: Real): void;
  abstract toString(): string;

  /** The worlds that a crash during the operation may leave; the last of them is the one afterwards. */
  protected worlds(model: Model, refused: boolean): World[] {
    const worlds = [model.world.copy()];
    if (refused) return worlds;
    const world = model.world.copy();
    for (const step of this.operation.steps) {
      step(world);
      worlds.push(world.copy());
    }
    return worlds;
  }
}

/** @returns what the operation threw: a refusal of ours, or the planted failure */
function attempt(act: () => void): unknown {
  try {
    act();
    return undefined;
  } catch (error) {
    if (isPerdureError(error)) return error;
    throw error;
  }
}

class Complete extends Operate {
  run(model: Model, real: Real): void {
    const refusal = attempt(() => this.operation.run(real.region));
    model.world = this.worlds(model, refusal !== undefined).at(-1) as World;
    assert.equal(textAfterDeath(real.recording.recorded), model.world.text());
  }

  toString(): string {
    return this.operation.name;
  }
}

class Crash extends Operate {
  readonly #k: number;

  constructor(operation: Operation, k: number) {
    super(operation);
    this.#k = k;
  }

  run(model: Model, real: Real): void {
    const killed = new KillModel(real.recording.recorded, seeded(1));
    real.recording.events = [];
    const refusal = attempt(() => this.operation.run(real.region));
    const { events } = real.recording;
    for (const event of events.slice(0, this.#k % (events.length + 1))) killed.add(event);
    takeOver(model, real, this.worlds(model, refusal !== undefined), killed.latest());
  }

  toString(): string {
    return `crash(${this.#k}) in ${this.operation.name}`;
  }
}

class Fault extends Operate {
  readonly #call: FailingCall;
  readonly #nth: number;

  constructor(operation: Operation, call: FailingCall, nth: number) {
    super(operation);
    this.#call = call;
    this.#nth = nth;
  }

  run(model: Model, real: Real): void {
    real.memory.arm(this.#call, this.#nth);
    const thrown = attempt(() => this.operation.run(real.region));
    const { failed } = real.memory;
    real.memory.arm("fence", Number.POSITIVE_INFINITY);
    const worlds = this.worlds(model, thrown !== undefined && !failed);
    if (!failed) {
      model.world = worlds.at(-1) as World;
      return;
    }
    // What returned was done before the memory failed; the next operation is refused all the same.
    const isDone = thrown === undefined;
    // Of several blocks one was done, and the next one met the poison.
    const isTold = isPerdureError(thrown, "EIO") || isPerdureError(thrown, "POISONED");
    assert.ok(isDone || isTold, "a failure of the memory reaches whoever asked");
    assert.throws(() => real.region.instance("crash", "any", { create: true }), { code: "POISONED" });
    takeOver(model, real, isDone ? worlds.slice(-1) : worlds, real.recording.recorded);
  }

  toString(): string {
    return `fault at ${this.#call} ${this.#nth} in ${this.operation.name}`;
  }
}

class Reopen implements Step {
  readonly #closes: boolean;

  constructor(closes: boolean) {
    this.#closes = closes;
  }

  check(): boolean {
    return true;
  }

  run(model: Model, real: Real): void {
    if (this.#closes) real.region[Symbol.dispose]();
    takeOver(model, real, [model.world], real.recording.recorded);
  }

  toString(): string {
    return this.#closes ? "close and open" : "die and open";
  }
}

function takeOver(model: Model, real: Real, worlds: readonly World[], image: Uint8Array): void {
  real.takeOver(image);
  const { text } = checkImage(real.recording.recorded);
  const found = worlds.find((world) => world.text() === text);
  assert.ok(found !== undefined, `found\n${text}\nallowed\n${worlds.map((world) => world.text()).join("\nor\n")}`);
  model.world = found.reopened();
}

const writes = fc
  .tuple(fc.constantFrom("ann", "bob"), fc.constantFrom(0, 1, 3, 254, 255), fc.constantFrom(0, 1, "both"), fc.nat(999))
  .map(([name, index, half, value]) => write(name, index, half as 0 | 1 | "both", 1000 + value));
const operations = fc.oneof(fc.constantFrom(...alphabet), writes);
const calls = fc.constantFrom<FailingCall>("fence", "fill", "commit");
const commands = fc.commands<Model, Real>(
  [
    operations.map((operation) => new Complete(operation)),
    fc.tuple(operations, fc.nat(40)).map(([operation, k]) => new Crash(operation, k)),
    fc.tuple(operations, calls, fc.integer({ min: 1, max: 8 })).map(([one, call, nth]) => new Fault(one, call, nth)),
    fc.boolean().map((closes) => new Reopen(closes)),
  ],
  { maxCommands: 40, ...(replayPath === undefined ? {} : { replayPath }) },
);

test(`no history of commands, crashes and failures loses what was acknowledged (PERDURE_SEED=${seed})`, () => {
  const property = fc.property(commands, (history) => {
    fc.modelRun(() => {
      const model = { world: new World() };
      const real = new Real(freshImage());
      for (const operation of prepared) new Complete(operation).run(model, real);
      return { model, real };
    }, history);
  });
  fc.assert(property, { seed, numRuns: HISTORIES, ...(path === undefined ? {} : { path }) });
});
