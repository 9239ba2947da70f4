import type { Memory } from "../memory/index.ts";
import type { CrashImage, CrashModel } from "./crash-image.ts";
import { KeySet } from "./key-set.ts";
import { KillModel } from "./kill.ts";
import { PowerModel } from "./power.ts";
import type { Random } from "./random.ts";
import { type MemoryEvent, Recording, RecordingMemory } from "./recording-memory.ts";
import type { TrialImage } from "./trial-image.ts";
import { TrialMemory } from "./trial-memory.ts";

/** A promise that a crash image broke. */
export class Violation extends Error {}

/** What the checker reads out of a recovered image. */
export interface Found {
  /** One text for one state: it is compared with the texts of the states that are allowed. */
  readonly text: string;
}

/** What the engine must know of a format. */
export interface CrashSubject<Opened, F extends Found = Found> {
  /** Opens a memory as the next owner does, recovery and all. Throws when it cannot. */
  open(memory: Memory): Opened;
  /** Reads a recovered image, and throws when it breaks a rule. It shares no code with `open`. */
  check(image: Uint8Array): F;
  /** Throws when what was opened and what the checker found do not agree. */
  agree?(opened: Opened, found: F): void;
  /** What only one in many states is asked for, since it takes long: here the image may be changed. */
  examine?(recording: Recording): void;
  /** Told of every event of a recovery, when the crashes at it were tried. */
  observe?(event: MemoryEvent): void;
  /**
   * Says of which parts of a recovered image the checker never looks at the content, as of free pages: states that
   * differ in nothing else are checked once. Without it everything matters.
   */
  readonly matters?: { readonly blockBytes: number; of(image: Uint8Array, offset: number): boolean };
}

/** Counts, for the last line of a run. */
export interface Tally {
  /** Distinct crash states that were opened, those inside of a recovery among them. */
  states: number;
  /** Images that were made again, and compared with what was found in them the first time. */
  repeats: number;
  /** Of the states, those that a crash of recovery left. */
  inRecovery: number;
  operations: number;
}

/** How often a judge does what takes long. */
export interface Thoroughness {
  /** One in so many states is also crashed inside of its recovery. */
  readonly nestedEvery: number;
  readonly examinedEvery: number;
}

const usual: Thoroughness = { nestedEvery: 200, examinedEvery: 100 };
/** Combinations at a fence of a recovery that are all tried: it is the same short code every time. */
const EXHAUSTIVE_IN_RECOVERY = 64;
/** So many images are remembered at most, as they were before recovery and after it. */
const MAX_OPENED = 200_000;
const MAX_CHECKED = 20_000;

/** Opens crash images, and throws what is wrong with what recovery made of them. */
export class CrashJudge<Opened, F extends Found = Found> {
  readonly tally: Tally = { states: 0, repeats: 0, inRecovery: 0, operations: 0 };
  readonly #subject: CrashSubject<Opened, F>;
  readonly #random: Random;
  readonly #thoroughness: Thoroughness;
  readonly #distinct = new KeySet();
  /** What was found in images, by their keys: an image always opens to the same, whatever is allowed. */
  readonly #opened = new Map<number, F>();
  /** What the checker found, by the key of what matters in a recovered image. */
  readonly #checked = new Map<number, F>();

  constructor(subject: CrashSubject<Opened, F>, random: Random, thoroughness: Partial<Thoroughness> = {}) {
    this.#subject = subject;
    this.#random = random;
    this.#thoroughness = { ...usual, ...thoroughness };
  }

  /** @throws Violation when the image does not open, or opens to a state that is not allowed */
  judge(crash: CrashImage, allowed: readonly string[], context: string): void {
    const label = (): string => `${context}: ${crash.label}`;
    const { value, isNew } = this.#find(crash, label, false);
    refuse(value.text, allowed, label);
    if (isNew) this.#lookCloser(crash, value.text, label);
  }

  /** Judges crashes of a recovery that goes on from a model: what a dead owner stored may still be lost. */
  judgeRecovery(model: CrashModel, start: Uint8Array, allowed: readonly string[], context: string): void {
    const recording = new Recording(start.slice());
    const label = (): string => `${context}: opening it`;
    open(this.#subject, new RecordingMemory(recording), label);
    for (const event of recording.events) {
      for (const crash of model.during(event)) {
        const inside = (): string => `${context} / in recovery: ${crash.label}`;
        refuse(this.#find(crash, inside, true).value.text, allowed, inside);
      }
      model.add(event);
      this.#subject.observe?.(event);
    }
  }

  #find(crash: CrashImage, label: () => string, inRecovery: boolean): { value: F; isNew: boolean } {
    const known = this.#opened.get(crash.key);
    if (known !== undefined) {
      this.tally.repeats++;
      return { value: known, isNew: false };
    }
    const value = crash.attempt((image) => {
      const opened = open(this.#subject, new TrialMemory(image), label);
      return this.#check(image, opened, label);
    });
    if (this.#opened.size >= MAX_OPENED) this.#opened.clear();
    this.#opened.set(crash.key, value);
    const isNew = this.#distinct.add(crash.key);
    if (!isNew) this.tally.repeats++;
    else this.tally.states++;
    if (isNew && inRecovery) this.tally.inRecovery++;
    return { value, isNew };
  }

  #check(image: TrialImage, opened: Opened, label: () => string): F {
    const { matters } = this.#subject;
    const key =
      matters === undefined
        ? image.key.value
        : image.keyOf((offset) => matters.of(image.bytes, offset), matters.blockBytes);
    let found = this.#checked.get(key);
    try {
      found ??= this.#subject.check(image.bytes);
      this.#subject.agree?.(opened, found);
    } catch (error) {
      throw new Violation(`${label()}: ${(error as Error).message}`);
    }
    if (this.#checked.size >= MAX_CHECKED) this.#checked.clear();
    this.#checked.set(key, found);
    return found;
  }

  #lookCloser(crash: CrashImage, text: string, label: () => string): void {
    const { nestedEvery, examinedEvery } = this.#thoroughness;
    const isNested = this.tally.states % nestedEvery === 0;
    const isExamined = this.tally.states % examinedEvery === 0;
    if (!isNested && !isExamined) return;
    const image = crash.bytes();
    if (isExamined) this.#examine(image, label);
    if (!isNested) return;
    // Recovery that is begun anew must come to what it came to when it was not interrupted.
    const power = new PowerModel(image, this.#random, EXHAUSTIVE_IN_RECOVERY);
    this.judgeRecovery(new KillModel(image, this.#random), image, [text], label());
    this.judgeRecovery(power, image, [text], label());
  }

  #examine(image: Uint8Array, label: () => string): void {
    const recording = new Recording(image.slice());
    open(this.#subject, new RecordingMemory(recording), label);
    try {
      this.#subject.examine?.(recording);
    } catch (error) {
      throw new Violation(`${label()}: ${(error as Error).message}`);
    }
  }
}

function open<Opened, F extends Found>(subject: CrashSubject<Opened, F>, memory: Memory, label: () => string): Opened {
  try {
    return subject.open(memory);
  } catch (error) {
    throw new Violation(`${label()}: does not open: ${(error as Error).stack}`);
  }
}

function refuse(text: string, allowed: readonly string[], label: () => string): void {
  if (allowed.includes(text)) return;
  throw new Violation(`${label()}: state is not allowed\n  got\n${text}\n  allowed\n${allowed.join("\n  or\n")}`);
}
