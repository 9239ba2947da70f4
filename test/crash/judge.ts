/** Opens a crash image, and says what is wrong with what recovery made of it. */
import { analyze, PageRegion } from "../../src/region/index.ts";
import {
  type CrashImage,
  killImages,
  type MemoryEvent,
  PowerModel,
  type Random,
  Recording,
  RecordingMemory,
} from "../../src/testing/index.ts";
import { checkImage } from "./checker.ts";
import { filled, pageBytes } from "./operations.ts";

/** A promise that a crash image broke. */
export class Violation extends Error {}

/** Counts, for the last line of a run. */
export interface Tally {
  states: number;
  repeats: number;
  inRecovery: number;
  operations: number;
}

/** One in so many states is also crashed inside of its recovery, analyzed again, filled and emptied. */
const NESTED_EVERY = 60;
const AGAIN_EVERY = 16;
const FILLED_EVERY = 400;

export class Judge {
  readonly tally: Tally = { states: 0, repeats: 0, inRecovery: 0, operations: 0 };
  readonly #random: Random;
  #seen = new Set<number>();

  constructor(random: Random) {
    this.#random = random;
  }

  /** Forgets which images were judged: from here on other states are allowed. */
  forget(): void {
    this.#seen = new Set();
  }

  /** @throws Violation when the image does not open, or opens to a state that is not allowed */
  judge(crash: CrashImage, allowed: readonly string[], context: string, depth = 0): void {
    if (this.#seen.has(crash.key)) {
      this.tally.repeats++;
      return;
    }
    this.#seen.add(crash.key);
    const label = `${context}: ${crash.label}`;
    const image = crash.bytes();
    if (depth === 0) this.tally.states++;
    else this.tally.inRecovery++;
    const recording = new Recording(image.slice());
    const region = this.#open(recording, label);
    const { text, free, mark } = this.#check(recording.recorded, label);
    if (!allowed.includes(text)) {
      throw new Violation(`${label}: state is not allowed\n  got\n${text}\n  allowed\n${allowed.join("\n  or\n")}`);
    }
    const counted = region.info().freePages - Math.max(0, lastPage(image) - mark);
    if (counted !== free) throw new Violation(`${label}: ${counted} pages counted free, ${free} are`);
    const { states } = this.tally;
    if (states % AGAIN_EVERY === 0) refuseWork(recording, label);
    if (depth === 0 && states % NESTED_EVERY === 0) this.#crashInside(image, recording.events, allowed, label);
    if (states % FILLED_EVERY === 0) fillAndEmpty(region, label);
  }

  #open(recording: Recording, label: string): PageRegion {
    try {
      return PageRegion.attach(new RecordingMemory(recording));
    } catch (error) {
      throw new Violation(`${label}: does not open: ${(error as Error).stack}`);
    }
  }

  #check(image: Uint8Array, label: string): ReturnType<typeof checkImage> {
    try {
      return checkImage(image);
    } catch (error) {
      throw new Violation(`${label}: ${(error as Error).message}`);
    }
  }

  // Its states are other than those outside, so they are told apart by a judge of their own.
  #crashInside(image: Uint8Array, events: readonly MemoryEvent[], allowed: readonly string[], label: string): void {
    const inner = new Judge(this.#random);
    for (const crash of killImages(image, events, this.#random))
      inner.judge(crash, allowed, `${label} / in recovery`, 1);
    inner.forget();
    const power = new PowerModel(image);
    for (const event of events) {
      if (event.kind === "fence") {
        for (const crash of power.images(this.#random)) inner.judge(crash, allowed, `${label} / in recovery`, 1);
      }
      power.add(event);
    }
    this.tally.inRecovery += inner.tally.inRecovery;
  }
}

function refuseWork(recording: Recording, label: string): void {
  const { plan, findings } = analyze(new RecordingMemory(new Recording(recording.recorded.slice())));
  const work =
    plan.heal.length + plan.free.length + plan.freeTails.length + plan.giveBack.length + plan.endRecords.length;
  if (work + findings.length > 0) throw new Violation(`${label}: recovery left work for a second one`);
}

// A recovered region must work: every free page can be taken and comes back.
function fillAndEmpty(region: PageRegion, label: string): void {
  for (const { name } of region.deleted()) region.purge("crash", name);
  const extra = region.instance("crash", "extra", { create: true });
  const atStart = region.info().freePages;
  let count = 0;
  try {
    for (; count < 10_000; count++) extra.write(count, filled(count, pageBytes));
  } catch (error) {
    if ((error as { code?: string }).code !== "ENOSPC") throw new Violation(`${label}: filling: ${String(error)}`);
  }
  if (count !== Math.max(0, atStart - region.info().reservePages)) {
    throw new Violation(`${label}: ${count} pages could be taken of ${atStart}`);
  }
  for (let index = 0; index < count; index++) extra.free(index);
  extra.purge();
  if (region.info().freePages !== atStart) throw new Violation(`${label}: pages leaked`);
}

function lastPage(image: Uint8Array): number {
  return new DataView(image.buffer, image.byteOffset).getUint32(56, true) - 1;
}
