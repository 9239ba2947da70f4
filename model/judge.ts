import { type Checked, Complaint, check } from "./checker.ts";
import { killImages } from "./kill.ts";
import { Media, type MediaEvent } from "./media.ts";
import { PowerCut } from "./power.ts";
import type { Random } from "./random.ts";
import { analyze, Corruption, open } from "./recovery.ts";
import type { Region, RegionOptions } from "./region.ts";

/** The correct code did something wrong, or a mutant was caught. */
export class Violation extends Error {}

export type CrashKind = "kill" | "power";

/** Images of a power cut are enumerated up to this many, above it sampled. */
export const imageLimit = 128;

/** Recovers crash images and compares what they hold with what they may hold. Counts as it goes. */
export class Judge {
  states = 0;
  /** States of a crash inside recovery, among `states`. */
  nested = 0;
  /** Images met before, with the same question. */
  repeats = 0;
  readonly #options: RegionOptions;
  readonly #crash: CrashKind;
  readonly #random: Random;
  readonly #limit: number;
  readonly #scratch: Media = new Media();
  readonly #seen: Set<number> = new Set();

  constructor(options: RegionOptions, crash: CrashKind, random: Random, limit: number) {
    this.#options = options;
    this.#crash = crash;
    this.#random = random;
    this.#limit = limit;
  }

  /** Whether as many states were judged as asked for. */
  get done(): boolean {
    return this.states >= this.#limit;
  }

  /** Forgets the images met: a new question is asked of the next ones. */
  ask(): void {
    this.#seen.clear();
  }

  /** @throws Violation when the image, once recovered, is none of the allowed texts */
  judge(image: Uint32Array, allowed: ReadonlySet<string>, context: string, isNested = false): void {
    const key = imageHash(image);
    if (this.#seen.has(key)) {
      this.repeats++;
      return;
    }
    this.#seen.add(key);
    this.states++;
    if (isNested) this.nested++;
    const media = this.#scratch;
    media.words.set(image);
    const inner = !isNested && this.#random.chance(0.01) ? media.record() : undefined;
    const { region, checked } = recover(media, this.#options, context);
    media.trace = undefined;
    if (!allowed.has(checked.text)) {
      throw new Violation(`${context}: found "${checked.text}", allowed ${[...allowed].join(" | ")}`);
    }
    if (checked.free !== region.free.length || checked.free + checked.claimed !== checked.mark - 248) {
      throw new Violation(`${context}: pages leaked`);
    }
    if ((this.states & 63) === 0) assertAtRest(region, context);
    if (inner !== undefined) this.#crashRecovery(image, inner, allowed, context);
  }

  /** Recovery dies as well, at every store or fence of it. */
  #crashRecovery(image: Uint32Array, events: MediaEvent[], allowed: ReadonlySet<string>, context: string): void {
    const inside = `${context}, inside recovery`;
    const again = (state: Uint32Array): void => this.judge(state, allowed, inside, true);
    if (this.#crash === "kill") return killImages(image.slice(), events, this.#random, again);
    const cut = new PowerCut(image);
    for (const event of events) {
      if (event.kind === "fence") cut.images(imageLimit / 2, this.#random, again);
      cut.feed(event);
    }
  }
}

/** Opens and checks. @throws Violation when either complains */
export function recover(
  media: Media,
  options: RegionOptions,
  context: string,
  writerId = 1,
): { region: Region; checked: Checked } {
  try {
    const region = open(media, options, writerId);
    return { region, checked: check(media.words) };
  } catch (error) {
    if (error instanceof Corruption || error instanceof Complaint) throw new Violation(`${context}: ${error.message}`);
    throw error;
  }
}

/** The volatile state says what the media say, and nothing is left to be done. @throws Violation */
export function assertAtRest(region: Region, context: string): void {
  const { findings, plan, tables, free, directory } = analyze(region.media.words, region.mutants);
  const { heal, giveBack, withdraw, withdrawTails, complete, retire, merge } = plan;
  const lists = [heal, giveBack, withdraw, withdrawTails, complete, retire, merge];
  const left = lists.some((list) => list.length > 0);
  const sorted = [...region.free].sort((a, b) => a - b);
  const differs =
    (findings.length > 0 && findings[0]) ||
    (left && "something is left to recover") ||
    (tables.size !== region.tables.size && "page tables and media differ in length") ||
    ([...tables].some(([key, page]) => region.tables.get(key) !== page) && "page tables and media differ") ||
    (sorted.join() !== free.join() && `free list ${sorted.join()} and media ${free.join()} differ`) ||
    (directory.some((entry, d) => entry.sequence !== region.directory[d].sequence) && "directory and media differ");
  if (differs !== false) throw new Violation(`${context}, at rest: ${differs}`);
}

/** 53 bits, so that two images are not taken for one by chance. */
export function imageHash(image: Uint32Array): number {
  let low = 1;
  let high = 7;
  for (let k = 0; k < image.length; k++) {
    low = Math.imul(low ^ image[k], 0x01000193) ^ (low >>> 11);
    high = (Math.imul(high ^ image[k], 0x85ebca6b) + k) | 0;
  }
  return (low >>> 0) * 2 ** 21 + (high >>> 11);
}
