/** Crashes while a memory is formatted or upgraded: it is a region afterwards, or what it was before. */
import { crc32 } from "node:zlib";
import { isPerdureError } from "../../src/base/index.ts";
import { attachMemory, formatMemory } from "../../src/format/index.ts";
import { nativeFormat, PageRegion } from "../../src/region/index.ts";
import {
  type CrashImage,
  CrashJudge,
  type Memory,
  Recording,
  RecordingMemory,
  seeded,
} from "../../src/testing/index.ts";
import { checkImage } from "./checker.ts";
import type { Tally } from "./judge.ts";
import { pageBytes } from "./operations.ts";
import { crashModel, type ModelName } from "./sequences.ts";
import { storeSites } from "./store-sites.ts";

const PAGES = 320;
const NONE = "no region";
const EMPTY = "an empty region";

/**
 * A memory that held a region before, and an empty one; both are formatted. Whatever a crash leaves is opened or
 * formatted by the next create, without force. @throws Violation
 */
export function runFormatting(name: ModelName, seed: number): Tally {
  const random = seeded(seed);
  const check = (image: Uint8Array): { text: string } => ({ text: textOf(image) });
  const left = new CrashJudge({ open: attachIfFormatted, check }, random);
  const next = new CrashJudge({ open: attachOrFormat, check }, random);
  const judge = (crash: CrashImage, allowed: readonly string[], context = "formatting"): void => {
    left.judge(crash, allowed, context);
    next.judge(crash, [EMPTY], `${context}, and the next create`);
  };
  const memory = RecordingMemory.blank(PAGES * pageBytes);
  const { recording } = memory;
  for (const before of [NONE, EMPTY]) {
    const model = crashModel(name, recording.recorded, random);
    recording.events = [];
    formatMemory(memory, nativeFormat({ pageBytes }), { force: true });
    left.tally.operations++;
    for (const event of recording.events) {
      for (const crash of model.during(event)) judge(crash, [before, NONE, EMPTY]);
      model.add(event);
      if (storeSites.note(event)) for (const crash of model.now()) judge(crash, [before, NONE, EMPTY]);
    }
    for (const crash of model.now()) judge(crash, [EMPTY], "formatting, at the end");
  }
  return left.tally;
}

/** A region of format version 0 that is upgraded: it opens and is empty all the while. @throws Violation */
export function runUpgrade(name: ModelName, seed: number): Tally {
  const random = seeded(seed);
  const judge = new CrashJudge(
    {
      open: attachIfFormatted,
      check: (image) => ({ text: textOf(image) }),
      observe: (event) => void storeSites.note(event),
    },
    random,
  );
  const memory = RecordingMemory.blank(PAGES * pageBytes);
  formatMemory(memory, nativeFormat({ pageBytes }));
  const image = memory.recording.recorded.slice();
  for (const place of [0, image.length - 512]) lowerVersion(image, place);
  const recording = new Recording(image);
  const region = PageRegion.attach(new RecordingMemory(recording));
  const model = crashModel(name, recording.recorded, random);
  recording.events = [];
  region.upgrade();
  judge.tally.operations++;
  for (const event of recording.events) {
    for (const crash of model.during(event)) judge.judge(crash, [EMPTY], "upgrade");
    model.add(event);
    if (storeSites.note(event)) for (const crash of model.now()) judge.judge(crash, [EMPTY], "upgrade");
    judge.judgeRecovery(model.fork(), model.latest(), [EMPTY], "upgrade, killed and opened again");
  }
  return judge.tally;
}

function lowerVersion(image: Uint8Array, place: number): void {
  const view = new DataView(image.buffer, image.byteOffset + place, 128);
  view.setUint32(12, 0, true);
  view.setUint32(64, crc32(image.subarray(place + 12, place + 64)), true);
}

/** @returns whether it was formatted */
function attachIfFormatted(memory: Memory): boolean {
  try {
    attachMemory(memory);
    return true;
  } catch (error) {
    if (isPerdureError(error, "UNFORMATTED")) return false;
    throw error;
  }
}

function attachOrFormat(memory: Memory): void {
  if (attachIfFormatted(memory)) return;
  formatMemory(memory, nativeFormat({ pageBytes }));
  attachMemory(memory);
}

function textOf(image: Uint8Array): string {
  const magic = Buffer.from(image.buffer, image.byteOffset, 8).toString("latin1");
  if (magic !== "SREPMEMK") return NONE;
  const { text } = checkImage(image);
  return text === "" ? EMPTY : text;
}
