import { Expected, type ExpectedInstance } from "./expected.ts";
import { close } from "./instances.ts";
import { type CrashKind, imageLimit, Judge, recover, Violation } from "./judge.ts";
import { killImages } from "./kill.ts";
import * as layers from "./layer-operations.ts";
import { chunkPages, DATA, firstPage, LIVE, PENDING, VOLATILE } from "./layout.ts";
import { Media, type MediaEvent } from "./media.ts";
import type { Mutants } from "./mutant-names.ts";
import * as operations from "./operations.ts";
import { at, type Operation } from "./operations.ts";
import type { Target } from "./page-operations.ts";
import { PowerCut } from "./power.ts";
import { Random } from "./random.ts";
import { format, open } from "./recovery.ts";
import type { Region, RegionOptions } from "./region.ts";
import type { Topic } from "./searches.ts";
import { run } from "./tasks.ts";
import { Writer } from "./writer.ts";

/** One thread: random operations, each cut off everywhere. */
export interface SequenceOptions {
  readonly crash: CrashKind;
  readonly mutants: Mutants;
  readonly limbo: boolean;
  readonly seed: number;
  /** Stops after so many states. */
  readonly states: number;
  /** Stops when this says so, between operations. */
  readonly until?: (() => boolean) | undefined;
  readonly focus?: readonly Topic[] | undefined;
}

export interface Report {
  readonly states: number;
  readonly nested: number;
  readonly repeats: number;
  /** Operations of sequences, schedules of threads. */
  readonly runs: number;
  /** What was wrong, undefined when nothing was. */
  readonly violation: string | undefined;
}

const names: readonly number[] = [0x0101, 0x01ff, 0x0200];
const snapshotNames: readonly number[] = [0x0401, 0x0402];
const ballastName = 0x0300;
const sizes: readonly number[] = [2, 256, 257, 600];
const indices: readonly number[] = [0, 1, 255, 256, 257, 511, 512];
const writerIds: readonly number[] = [7, 8];
const operationsPerSeed = 60;

/** Share of each topic among random operations. */
const weights: Readonly<Record<Topic, number>> = {
  create: 4,
  publish: 5,
  delete: 4,
  resize: 6,
  write: 24,
  free: 8,
  "hand-over": 12,
  run: 6,
  volatile: 6,
  store: 5,
  save: 4,
  snapshot: 8,
  clone: 4,
  promote: 3,
  layer: 4,
  undelete: 3,
  purge: 6,
  close: 2,
  die: 1,
  crash: 4,
};
const topics: readonly Topic[] = (Object.keys(weights) as Topic[]).flatMap((topic) =>
  Array.from({ length: weights[topic] }, () => topic),
);
/** What a crash that the region goes on from, or the death of a thread, may cut off. */
const interrupted: readonly Topic[] = topics.filter((topic) => !["close", "crash", "die"].includes(topic));

/** Runs seeds from `options.seed` on until enough states were judged or something is wrong. */
export function runSequences(options: SequenceOptions): Report {
  const { mutants, limbo } = options;
  const random = new Random(options.seed);
  const regionOptions: RegionOptions = { mutants, limbo, stripes: 0 };
  const judge = new Judge(regionOptions, options.crash, random, options.states);
  let runs = 0;
  let violation: string | undefined;
  try {
    for (let seed = options.seed; !judge.done && !options.until?.(); seed++) {
      const sequence = new Sequence(options, regionOptions, judge, seed);
      for (let k = 0; k < operationsPerSeed && !judge.done && !options.until?.(); k++) if (sequence.step(k)) runs++;
    }
  } catch (error) {
    if (!(error instanceof Violation)) throw error;
    violation = error.message;
  }
  return { states: judge.states, nested: judge.nested, repeats: judge.repeats, runs, violation };
}

/** One region, what is expected of it, and the power that may fail. */
class Sequence {
  readonly #options: SequenceOptions;
  readonly #regionOptions: RegionOptions;
  readonly #judge: Judge;
  readonly #seed: number;
  readonly #random: Random;
  readonly #indices: readonly number[];
  #media: Media = new Media();
  #region: Region;
  #writer: Writer;
  #expected: Expected = new Expected();
  #cut: PowerCut;
  #value = 100;
  /** The last operation found no room. */
  #full = false;

  constructor(options: SequenceOptions, regionOptions: RegionOptions, judge: Judge, seed: number) {
    this.#options = options;
    this.#regionOptions = regionOptions;
    this.#judge = judge;
    this.#seed = seed;
    this.#random = new Random(seed * 7919 + 3);
    this.#indices = [0, 1, 2].map(() => this.#random.pick(indices));
    format(this.#media, firstPage + chunkPages);
    this.#cut = new PowerCut(this.#media.words);
    const events = this.#media.record();
    this.#region = open(this.#media, regionOptions, this.#random.pick(writerIds));
    for (const event of events) this.#cut.feed(event);
    this.#writer = new Writer(this.#region, 0);
    if (this.#random.chance(1 / 3)) this.#fillUp();
  }

  /** Leaves little room, so that pages are reused soon and some operations find none. */
  #fillUp(): void {
    const events = this.#media.record();
    const values = new Map(Array.from({ length: 24 }, (_, k) => [k, k]));
    const ballast = operations.storing(ballastName, sizes[1], values);
    if (!ballast.apply(this.#expected, run(ballast.start(this.#writer))))
      throw new Violation("an empty region is full");
    for (const event of events) this.#cut.feed(event);
  }

  /** One operation and every crash in it, or one crash that the region goes on from. */
  step(number: number): boolean {
    const topic = this.#full ? "purge" : this.#pickTopic(topics);
    this.#full = false;
    const context = `seed ${this.#seed}, operation ${number}`;
    if (topic === "close") {
      this.#close(`${context}, close`);
      return true;
    }
    const operation = this.#choose(topic === "crash" || topic === "die" ? this.#pickTopic(interrupted) : topic);
    if (operation === undefined) return false;
    const before = this.#expected.copy();
    const start = this.#media.words.slice();
    const events = this.#media.record();
    const title = `${context}, ${operation.title}`;
    if (topic === "die") {
      this.#die(operation, start, events, title);
      return true;
    }
    const result = run(operation.start(this.#writer));
    this.#full = result === "ENOSPC";
    // Rule 5: what is refused has not begun.
    const refusedLate = result !== "done" && events.some(({ kind }) => kind === "store");
    if (refusedLate) throw new Violation(`${title}: ${String(result)} after a store`);
    if (!operation.apply(this.#expected, result)) throw new Violation(`${title}: ${String(result)} is no answer here`);
    if (topic === "crash" || this.#random.chance(0.03)) this.#crash(before, start, events, title);
    else this.#judgeAll(start, events, before.text(), this.#expected.text(), title);
    return true;
  }

  #pickTopic(among: readonly Topic[]): Topic {
    const focus = (this.#options.focus ?? []).filter((topic) => among.includes(topic));
    return this.#random.pick(focus.length > 0 && this.#random.chance(0.7) ? focus : among);
  }

  /** Every crash of a finished operation leaves the state before or after it, and after its return the latter. */
  #judgeAll(start: Uint32Array, events: readonly MediaEvent[], before: string, after: string, title: string): void {
    const both = new Set([before, after]);
    this.#judge.ask();
    if (this.#options.crash === "kill") {
      killImages(start, events, this.#random, (image, step) =>
        this.#judge.judge(image, both, `${title}, store ${step}`),
      );
    } else {
      this.#feedPower(events, both, title);
    }
    this.#judge.ask();
    this.#judgeNow(new Set([after]), `${title}, returned`);
  }

  #feedPower(events: readonly MediaEvent[], allowed: ReadonlySet<string>, title: string): void {
    for (const event of events) {
      if (event.kind === "fence") {
        this.#cut.images(imageLimit, this.#random, (image) => {
          this.#judge.judge(image, allowed, `${title}, power before ${event.name}`);
        });
      }
      this.#cut.feed(event);
    }
  }

  #judgeNow(allowed: ReadonlySet<string>, title: string): void {
    if (this.#options.crash === "kill") this.#judge.judge(this.#media.words, allowed, title);
    else this.#cut.images(imageLimit, this.#random, (image) => this.#judge.judge(image, allowed, title));
  }

  /** The process is killed, or the power fails, somewhere in the operation; the next process goes on from there. */
  #crash(before: Expected, start: Uint32Array, events: readonly MediaEvent[], title: string): void {
    const end = this.#random.below(events.length + 1);
    const both = new Set([before.text(), this.#expected.text()]);
    const part = events.slice(0, end);
    const image = start.slice();
    for (const event of part) if (event.kind === "store") image.set(event.values, event.word);
    this.#judge.ask();
    if (this.#options.crash === "power") this.#feedPower(part, both, title);
    const powerFails = this.#options.crash === "power" && this.#random.chance(0.3);
    const found = powerFails ? this.#cut.sample(this.#random) : image;
    if (powerFails) this.#cut = new PowerCut(found);
    this.#reopen(new Media(found), before, both, `${title}, ${powerFails ? "power cut" : "kill"} before event ${end}`);
  }

  /** A thread dies inside an operation. Rule 7: the region refuses everything until it is opened again. */
  #die(operation: Operation, start: Uint32Array, events: MediaEvent[], title: string): void {
    const before = this.#expected.copy();
    const task = operation.start(this.#writer);
    for (let steps = this.#random.below(12); steps > 0; steps--) if (task.next().done) break;
    operation.apply(this.#expected, undefined);
    const died = events.slice();
    const both = new Set([before.text(), this.#expected.text()]);
    this.#judge.ask();
    if (this.#options.crash === "kill") {
      killImages(start, died, this.#random, (image, step) => this.#judge.judge(image, both, `${title}, store ${step}`));
    } else {
      this.#feedPower(died, both, title);
    }
    if (this.#regionOptions.mutants.has("no-poison")) return this.#goOn(before, both, title);
    this.#region.poisoned = true;
    const refused = run(operation.start(this.#writer));
    if (refused !== "EPOISONED" || events.length > died.length)
      throw new Violation(`${title}: a poisoned region works`);
    this.#reopen(this.#media, before, both, `${title}, thread dies`);
  }

  /** The mutant of rule 7: other threads go on with what the dead one left. */
  #goOn(before: Expected, both: ReadonlySet<string>, title: string): void {
    const { checked } = recover(new Media(this.#media.words.slice()), this.#regionOptions, title);
    if (!both.has(checked.text)) throw new Violation(`${title}: found "${checked.text}"`);
    if (checked.text === before.text()) this.#expected = before;
    this.#region.locks.clear();
  }

  #close(title: string): void {
    const text = new Set([this.#expected.text()]);
    const events = this.#media.record();
    const start = this.#media.words.slice();
    run(close(this.#writer));
    this.#judgeAll(start, events, this.#expected.text(), this.#expected.text(), title);
    this.#reopen(this.#media, this.#expected, text, `${title}, open`);
  }

  /** Opens what a crash left; from then on what it shows is the truth, also when the power fails next. */
  #reopen(media: Media, before: Expected, allowed: ReadonlySet<string>, title: string): void {
    const events = media.record();
    const { region, checked } = recover(media, this.#regionOptions, title, this.#random.pick(writerIds));
    if (!allowed.has(checked.text)) throw new Violation(`${title}: found "${checked.text}"`);
    if (checked.text === before.text()) this.#expected = before.copy();
    this.#expected.restart();
    this.#media = media;
    this.#region = region;
    this.#writer = new Writer(region, 0);
    if (this.#options.crash === "kill") return;
    this.#judge.ask();
    this.#feedPower(events, allowed, `${title}, recovery`);
    this.#judge.ask();
    this.#judgeNow(new Set([checked.text]), `${title}, recovered`);
  }

  #choose(topic: Topic): Operation | undefined {
    const random = this.#random;
    const name = random.pick(names);
    const value = ++this.#value;
    const index = random.pick(this.#indices);
    const target = this.#target();
    switch (topic) {
      case "create":
        return operations.creating(name, random.pick(sizes));
      case "publish":
        return operations.publishing(this.#nameIn([...this.#expected.pending.values()]));
      case "delete":
        return operations.deleting(this.#live(random.chance(0.4)));
      case "resize":
        return operations.resizing(this.#live(false), random.pick(sizes));
      case "store":
        return operations.storing(name, 600, new Map(this.#indices.map((each, k) => [each, value * 10 + k])));
      case "save":
        return operations.saving(this.#live(false), name);
      case "close":
        return undefined;
      default:
        return this.#chooseInTree(topic) ?? this.#chooseOnPage(topic, target ?? at(name), index, value);
    }
  }

  #chooseInTree(topic: Topic): Operation | undefined {
    const random = this.#random;
    const name = random.pick(names);
    if (topic === "snapshot") return layers.snapping(this.#live(false), random.pick(snapshotNames));
    if (topic === "clone") return layers.cloning(this.#live(true), name);
    if (topic === "promote") return layers.promoting(this.#live(random.chance(0.6)), name);
    if (topic === "layer") return layers.creatingOver(this.#live(false), random.pick(sizes));
    if (topic === "undelete") return layers.undeleting(this.#nameIn(this.#expected.deleted));
    return topic === "purge" ? layers.purging() : undefined;
  }

  /** The name of a live snapshot, or of something else that is live; now and then of what may not be there. */
  #live(readOnly: boolean): number {
    return this.#nameIn([...this.#expected.live.values()].filter((instance) => instance.readOnly === readOnly));
  }

  #nameIn(instances: readonly ExpectedInstance[]): number {
    const any = instances.length === 0 || this.#random.chance(0.1);
    return any ? this.#random.pick([...names, ...snapshotNames]) : this.#random.pick(instances).name;
  }

  #chooseOnPage(topic: Topic, target: Target, index: number, value: number): Operation {
    const random = this.#random;
    if (topic === "free") {
      return random.chance(0.3) ? operations.freeingRun(target, index) : operations.freeing(target, index);
    }
    if (topic === "run") return operations.writingRun(target, index, value);
    if (topic === "volatile") {
      if (random.chance(0.5)) return operations.writingVolatile(target, index, value);
      return random.chance(0.5) ? operations.keeping(target, index) : operations.freeingVolatile(target, index);
    }
    if (topic === "hand-over") {
      const to = this.#target() ?? target;
      const kinds = [DATA, DATA, DATA, VOLATILE];
      const from = { target, kind: random.pick(kinds), index };
      return operations.handingOver(from, { target: to, kind: random.pick(kinds), index: random.pick(this.#indices) });
    }
    const extent = random.pick(["page", "page", "first", "second"] as const);
    return operations.writing(target, index, value, extent);
  }

  /** An instance that is there, if any. */
  #target(): Target | undefined {
    // Snapshots only refuse.
    const writable = [...this.#expected.live.values()].filter(({ readOnly }) => !readOnly || this.#random.chance(0.2));
    const live = writable.map(({ name }) => at(name, LIVE));
    const pending = [...this.#expected.pending.keys()].map((name) => at(name, PENDING));
    const all = [...live, ...pending];
    return all.length === 0 ? undefined : this.#random.pick(all);
  }
}
