/** Random sequences of operations on a small region; every crash state of every operation is judged. */
import { isPerdureError } from "../../src/base/index.ts";
import { formatMemory } from "../../src/format/index.ts";
import { nativeFormat, PageRegion } from "../../src/region/index.ts";
import {
  below,
  type CrashModel,
  KillModel,
  type MemoryEvent,
  PowerModel,
  type Random,
  Recording,
  RecordingMemory,
  seeded,
} from "../../src/testing/index.ts";
import { checkImage } from "./checker.ts";
import { EpochBlind } from "./epoch-blind.ts";
import { Judge, type Tally, Violation } from "./judge.ts";
import { choose, create, type Operation, pageBytes, write } from "./operations.ts";
import { storeSites } from "./store-sites.ts";
import { World } from "./world.ts";

/** More than 256 pages, so that a torn page number shows; the mark is raised in chunks of 64. */
export const regionPages = 320;
const CHUNK_PAGES = 64;
/**
 * An instance fills the region first, so that what is tested happens around page 256: with room below the mark at page
 * 256, with a few pages below it, and nearly full.
 */
const BALLAST_PAGES = [210, 236, 250] as const;

export type ModelName = "kill" | "power";

/** What a kind of crash may leave of a memory that starts as `image`; `exhaustive` is for the power model. */
export function crashModel(name: ModelName, image: Uint8Array, random: Random, exhaustive?: number): CrashModel {
  return new EpochBlind(name === "kill" ? new KillModel(image, random) : new PowerModel(image, random, exhaustive));
}

/** Made once: every region of its own would have another identity, and no state of two of them would be equal. */
const formatted = new Map<boolean, Uint8Array>();

/** A formatted region of the test geometry. */
export function freshImage(checksums = false): Uint8Array {
  let image = formatted.get(checksums);
  if (image === undefined) {
    const memory = RecordingMemory.blank(regionPages * pageBytes);
    formatMemory(memory, nativeFormat({ pageBytes, chunkPages: CHUNK_PAGES, checksums }));
    image = memory.recording.image;
    formatted.set(checksums, image);
  }
  return image.slice();
}

/** A region that is being tested, with its model. */
export interface Subject {
  recording: Recording;
  region: PageRegion;
  world: World;
}

/** Opens an image for recording. */
export function subjectOf(image: Uint8Array, world: World): Subject {
  const recording = new Recording(image.slice());
  return { recording, region: PageRegion.attach(new RecordingMemory(recording)), world };
}

/** Runs an operation on region and model. */
export function perform(subject: Subject, operation: Operation): void {
  operation.run(subject.region);
  for (const step of operation.steps) step(subject.world);
}

/** A fresh region with its ballast. */
export function freshSubject(round = 0): Subject {
  // Every other one has checksums of its content.
  const subject = subjectOf(freshImage(round % 2 === 1), new World());
  perform(subject, create("ballast", 300));
  for (let index = 0; index < BALLAST_PAGES[round % BALLAST_PAGES.length]; index++)
    perform(subject, write("ballast", index, "both", 9));
  return subject;
}

/** How long a run goes on: until so many states were judged, or the time is over. */
export interface Budget {
  readonly states: number;
  /** Time on the clock; no end by default. */
  readonly seconds?: number;
  /** Time of a processor, in which busy neighbours do not count; no end by default. */
  readonly cpuSeconds?: number;
  /** Up to how many combinations at a fence are tried one and all: with fewer, more operations make as many states. */
  readonly exhaustive?: number;
}

/** Says whether the budget is not used up yet. */
export function goesOnUntil(tally: Tally, budget: Budget): () => boolean {
  const { states, seconds = Number.POSITIVE_INFINITY, cpuSeconds = Number.POSITIVE_INFINITY } = budget;
  const began = process.cpuUsage();
  const end = performance.now() + 1000 * seconds;
  let looks = 0;
  let isLate = false;
  return () => {
    // The question takes long itself.
    if (looks++ % 32 === 0) {
      const { user, system } = process.cpuUsage(began);
      isLate = (user + system) / 1e6 >= cpuSeconds || performance.now() >= end;
    }
    return tally.states < states && !isLate;
  };
}

/** Runs random sequences until the budget is used up. @throws Violation */
export function runSequences(model: ModelName, seed: number, budget: Budget): Tally {
  const random = seeded(seed);
  const judge = new Judge(random);
  const goesOn = goesOnUntil(judge.tally, budget);
  for (let round = 0; goesOn(); round++) {
    const subject = freshSubject(round);
    const crashes = crashModel(model, subject.recording.recorded, random, budget.exhaustive);
    new Sequence(crashes, random, judge, `seed ${seed}, round ${round}`, subject).run(goesOn);
  }
  return judge.tally;
}

const OPERATIONS_A_ROUND = 60;
/** One in so many operations is cut short by a kill, and the next owner goes on with what is there. */
const CRASHED_EVERY = 12;
const REOPENED_EVERY = 25;
/** In one of so many operations a kill is followed by a recovery, and that by another crash of the model's kind. */
const TWICE_EVERY = 5;

class Sequence {
  readonly #random: Random;
  readonly #judge: Judge;
  readonly #name: string;
  /**
   * Carried on from owner to owner: what a dead one stored and did not fence may be lost to a power cut until the next
   * has made it durable.
   */
  readonly #model: CrashModel;
  #subject: Subject;
  /** The text of the world as it is. */
  #text: string;
  #value = 100;

  constructor(model: CrashModel, random: Random, judge: Judge, name: string, subject: Subject) {
    this.#random = random;
    this.#judge = judge;
    this.#name = name;
    this.#subject = subject;
    this.#text = subject.world.text();
    this.#model = model;
  }

  run(goesOn: () => boolean): void {
    for (let k = 0; k < OPERATIONS_A_ROUND && goesOn(); k++) {
      const label = `${this.#name}, operation ${k}`;
      if (below(this.#random, REOPENED_EVERY) === 0) this.#reopen(label);
      else this.#operate(label, below(this.#random, CRASHED_EVERY) === 0);
    }
  }

  #operate(label: string, crash: boolean): void {
    const operation = choose(this.#random, this.#subject.world, () => ++this.#value);
    if (operation === undefined) return;
    this.#judge.tally.operations++;
    const { recording, world } = this.#subject;
    // A crash brings back the world from before what it cuts short.
    const worlds = crash ? [world.copy()] : [];
    const allowed = [this.#text];
    recording.events = [];
    try {
      operation.run(this.#subject.region);
      for (const step of operation.steps) {
        step(world);
        if (crash) worlds.push(world.copy());
        allowed.push(world.text());
      }
    } catch (error) {
      // Rule 5: ENOSPC leaves the state as it was. A mark that was raised on the way only made free pages.
      if (!isPerdureError(error, "ENOSPC"))
        throw new Violation(`${label} ${operation.name}: ${(error as Error).stack}`);
    }
    const { events } = recording;
    const cut = crash ? below(this.#random, events.length + 1) : events.length;
    this.#replay(events.slice(0, cut), allowed, `${label} ${operation.name}`);
    if (crash) this.#continueFrom(worlds, `${label} ${operation.name} killed after event ${cut}`);
    else this.#judgeEnd(allowed[allowed.length - 1], `${label} ${operation.name}`);
  }

  /** Judges every crash in the middle of `events`: any of the allowed states may be found. */
  #replay(events: readonly MemoryEvent[], allowed: readonly string[], label: string): void {
    const twiceAt = below(this.#random, TWICE_EVERY * events.length);
    for (const [at, event] of events.entries()) {
      for (const crash of this.#model.during(event)) this.#judge.judge(crash, allowed, label);
      if (at === twiceAt) {
        const image = this.#model.latest();
        this.#judge.judgeRecovery(this.#model.fork(), image, allowed, `${label} killed before event ${at}`);
      }
      this.#model.add(event);
      if (storeSites.note(event)) for (const crash of this.#model.now()) this.#judge.judge(crash, allowed, label);
    }
  }

  /** What returned is durable: only the world of now may be found. */
  #judgeEnd(text: string, label: string): void {
    this.#text = text;
    for (const crash of this.#model.now()) this.#judge.judge(crash, [text], `${label}, at its end`);
  }

  #reopen(label: string): void {
    const { recording, region, world } = this.#subject;
    recording.events = [];
    region[Symbol.dispose]();
    this.#replay(recording.events, [this.#text], `${label} close`);
    this.#continueFrom([world], `${label} reopened`);
  }

  #continueFrom(worlds: readonly World[], label: string): void {
    const recording = new Recording(this.#model.latest());
    let region: PageRegion;
    let text: string;
    try {
      region = PageRegion.attach(new RecordingMemory(recording));
      text = checkImage(recording.recorded).text;
    } catch (error) {
      throw new Violation(`${label}: does not open: ${(error as Error).message}`);
    }
    const found = worlds.find((world) => world.text() === text);
    if (found === undefined) throw new Violation(`${label}: got\n${text}`);
    this.#subject = { recording, region, world: found.reopened() };
    const allowed = worlds.map((world) => world.text());
    this.#replay(recording.events, allowed, label);
    this.#judgeEnd(text, label);
  }
}
