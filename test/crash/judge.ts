/** What the crash engine must know of a region: how to open it, how to read it, what else must hold. */
import { attachMemory } from "../../src/format/index.ts";
import { analyze, type OpenRegion, PageRegion } from "../../src/region/index.ts";
import { CrashJudge, type CrashSubject, type Random, Recording, RecordingMemory } from "../../src/testing/index.ts";
import { type Checked, checkImage } from "./checker.ts";
import { filled, pageBytes } from "./operations.ts";
import { storeSites } from "./store-sites.ts";

export { type Tally, Violation } from "../../src/testing/index.ts";

const TABLE_OFFSET = 4096;
const KIND_FREE = 1;

const subject: CrashSubject<OpenRegion, Checked> = {
  open: (memory) => attachMemory<OpenRegion>(memory).handle,
  check: checkImage,
  agree: ({ core }, { free, mark }) => {
    const counted = core.freeCount - Math.max(0, core.shape.lastPage - mark);
    if (counted !== free) throw new Error(`${counted} pages counted free, ${free} are`);
  },
  examine: (recording) => {
    refuseWork(recording);
    fillAndEmpty(recording);
  },
  observe: (event) => void storeSites.note(event),
  // The checker never looks into a free page.
  matters: {
    blockBytes: pageBytes,
    of: (image, offset) => image[TABLE_OFFSET + 8 * (offset / pageBytes) + 7] >>> 4 !== KIND_FREE,
  },
};

export class Judge extends CrashJudge<OpenRegion, Checked> {
  constructor(random: Random) {
    // Some stores of recovery are those after a crash in one place only.
    super(subject, random, storeSites.isRecording ? { nestedEvery: 20 } : {});
  }
}

function refuseWork(recording: Recording): void {
  const { plan, findings } = analyze(new RecordingMemory(new Recording(recording.recorded.slice())));
  const work =
    plan.heal.length + plan.free.length + plan.freeTails.length + plan.giveBack.length + plan.endRecords.length;
  if (work + findings.length > 0) throw new Error("recovery left work for a second one");
}

// A recovered region must work: every free page can be taken and comes back.
function fillAndEmpty(recording: Recording): void {
  const region = PageRegion.attach(new RecordingMemory(recording));
  for (const { name } of region.deleted()) region.purge("crash", name);
  const extra = region.instance("crash", "extra", { create: true });
  const atStart = region.info().freePages;
  let count = 0;
  try {
    for (; count < 10_000; count++) extra.write(count, filled(count, pageBytes));
  } catch (error) {
    if ((error as { code?: string }).code !== "ENOSPC") throw error;
  }
  if (count !== Math.max(0, atStart - region.info().reservePages)) {
    throw new Error(`${count} pages could be taken of ${atStart}`);
  }
  for (let index = 0; index < count; index++) extra.free(index);
  extra.purge();
  if (region.info().freePages !== atStart) throw new Error("pages leaked");
}
