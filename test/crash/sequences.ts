/** Random sequences of operations on a small region; every crash state of every operation is judged. */
import { isPerdureError } from "../../src/base/index.ts";
import { formatMemory } from "../../src/format/index.ts";
import { nativeFormat, PageRegion } from "../../src/region/index.ts";
import {
  below,
  killImages,
  type MemoryEvent,
  PowerModel,
  type Random,
  Recording,
  RecordingMemory,
  seeded,
} from "../../src/testing/index.ts";
import { checkImage } from "./checker.ts";
import { Judge, type Tally, Violation } from "./judge.ts";
import { choose, create, type Operation, pageBytes, write } from "./operations.ts";
import { World } from "./world.ts";

/** More than 256 pages, so that a torn page number shows; the mark is raised in chunks of 64. */
export const regionPages = 320;
const CHUNK_PAGES = 64;
/**
 * An instance fills the region first, so that what is tested happens around page 256: with room below the mark at page
 * 256, with a few pages below it, and nearly full.
 */
const BALLAST_PAGES = [210, 236, 250] as const;

export type CrashModel = "kill" | "power";

/** A formatted region of the test geometry. */
export function freshImage(): Uint8Array {
  const memory = RecordingMemory.blank(regionPages * pageBytes);
  formatMemory(memory, nativeFormat({ pageBytes, chunkPages: CHUNK_PAGES }));
  return memory.recording.image;
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
  const subject = subjectOf(freshImage(), new World());
  perform(subject, create("ballast", 300));
  for (let index = 0; index < BALLAST_PAGES[round % BALLAST_PAGES.length]; index++)
    perform(subject, write("ballast", index, "both", 9));
  return subject;
}

/** Runs until `states` crash states were judged. @throws Violation */
export function runSequences(model: CrashModel, seed: number, states: number): Tally {
  const random = seeded(seed);
  const judge = new Judge(random);
  for (let round = 0; judge.tally.states < states; round++) {
    new Sequence(model, random, judge, `seed ${seed}, round ${round}`, freshSubject(round)).run(states);
  }
  return judge.tally;
}

const OPERATIONS_A_ROUND = 60;

class Sequence {
  readonly #model: CrashModel;
  readonly #random: Random;
  readonly #judge: Judge;
  readonly #name: string;
  #subject: Subject;
  readonly #power: PowerModel;
  #value = 100;

  constructor(model: CrashModel, random: Random, judge: Judge, name: string, subject: Subject) {
    this.#model = model;
    this.#random = random;
    this.#judge = judge;
    this.#name = name;
    this.#subject = subject;
    this.#power = new PowerModel(subject.recording.recorded);
  }

  run(states: number): void {
    for (let k = 0; k < OPERATIONS_A_ROUND && this.#judge.tally.states < states; k++) {
      const label = `${this.#name}, operation ${k}`;
      const dice = this.#random();
      if (dice < 0.04) this.#reopen(label);
      else this.#operate(label, dice < 0.12);
    }
  }

  #operate(label: string, crash: boolean): void {
    const operation = choose(this.#random, this.#subject.world, () => ++this.#value);
    if (operation === undefined) return;
    this.#judge.tally.operations++;
    const { recording, world } = this.#subject;
    const start = recording.recorded.slice();
    const worlds = [world.copy()];
    recording.events = [];
    try {
      operation.run(this.#subject.region);
      for (const step of operation.steps) {
        step(world);
        worlds.push(world.copy());
      }
    } catch (error) {
      // Rule 5: ENOSPC leaves the state as it was. A mark that was raised on the way only made free pages.
      if (!isPerdureError(error, "ENOSPC"))
        throw new Violation(`${label} ${operation.name}: ${(error as Error).stack}`);
    }
    const { events } = recording;
    const cut = crash ? below(this.#random, events.length + 1) : events.length;
    this.#replay(start, events.slice(0, cut), worlds, `${label} ${operation.name}`);
    if (crash)
      this.#continueFrom(withStores(start, events.slice(0, cut)), worlds, `${label} killed after event ${cut}`);
    else this.#judgeEnd(world, `${label} ${operation.name}`);
  }

  /** Judges every crash in the middle of `events`: any of the worlds may be found. */
  #replay(start: Uint8Array, events: readonly MemoryEvent[], worlds: readonly World[], label: string): void {
    this.#judge.forget();
    const allowed = worlds.map((world) => world.text());
    if (this.#model === "kill") {
      for (const crash of killImages(start, events, this.#random)) {
        this.#judge.judge(crash, allowed, label);
      }
    }
    for (const event of events) {
      if (this.#model === "power" && event.kind === "fence") this.#cutPower(allowed, label);
      this.#power.add(event);
    }
  }

  /** What returned is durable: only the world of now may be found. */
  #judgeEnd(world: World, label: string): void {
    this.#judge.forget();
    const allowed = [world.text()];
    const { recorded } = this.#subject.recording;
    if (this.#model === "power") this.#cutPower(allowed, `${label}, at its end`);
    else this.#judge.judge({ key: 0, label: "killed at its end", bytes: () => recorded }, allowed, label);
  }

  #cutPower(allowed: readonly string[], label: string): void {
    for (const crash of this.#power.images(this.#random)) this.#judge.judge(crash, allowed, label);
  }

  #reopen(label: string): void {
    const { recording, region, world } = this.#subject;
    const start = recording.recorded.slice();
    recording.events = [];
    region[Symbol.dispose]();
    this.#replay(start, recording.events, [world], `${label} close`);
    this.#continueFrom(recording.recorded, [world], `${label} reopened`);
  }

  // The next owner goes on. What the dead one stored and did not fence may still be lost to a power cut, until the new
  // owner has made it durable: so the power model is carried on.
  #continueFrom(image: Uint8Array, worlds: readonly World[], label: string): void {
    const recording = new Recording(image.slice());
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
    this.#replay(image, recording.events, worlds, label);
    this.#judgeEnd(this.#subject.world, label);
  }
}

function withStores(start: Uint8Array, events: readonly MemoryEvent[]): Uint8Array {
  const image = start.slice();
  for (const event of events) if (event.kind === "store") image.set(event.bytes, event.offset);
  return image;
}
