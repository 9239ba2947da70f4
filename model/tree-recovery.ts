import { writeRecord } from "./directory.ts";
import { canFinish, finish, retiredState } from "./finish.ts";
import { DELETING, LIVE, PENDING, RECORD_FREE } from "./layout.ts";
import type { Mutants } from "./mutant-names.ts";
import type { Entry } from "./record.ts";
import type { Analysis, Plan } from "./recovery.ts";
import { run } from "./tasks.ts";
import type { Writer } from "./writer.ts";

/** Judges what stands on what: which instances are to be completed, dropped, retired or merged. */
export function judgeTree(analysis: Analysis, mutants: Mutants): void {
  const { directory, plan, findings } = analysis;
  const byOwner = new Map<number, Entry>();
  for (const entry of directory) if (entry.state !== RECORD_FREE) byOwner.set(entry.owner, entry);
  for (const entry of byOwner.values()) {
    let below: Entry | undefined = entry;
    for (let steps = 0; below !== undefined && below.parent !== 0; steps++) {
      below = steps > directory.length ? undefined : byOwner.get(below.parent);
    }
    if (below === undefined) findings.push(`the layers below owner ${entry.owner} do not end`);
  }
  for (const [d, entry] of directory.entries()) {
    if (entry.state !== PENDING) continue;
    if (isSuccessor(directory, entry, mutants)) plan.complete.push(d);
    else if (!mutants.has("pending-kept")) plan.drop.push(d);
  }
  dropWithoutChildren(directory, plan.drop);
  judgeNames(directory, plan, mutants);
  judgeMerges(directory, plan);
}

/** A snapshot has committed when the record below the pending top names it. */
function isSuccessor(directory: readonly Entry[], { owner, parent }: Entry, mutants: Mutants): boolean {
  return directory.some((below) => {
    const isParent = below.owner === parent || mutants.has("successor-of-anyone");
    return below.state !== RECORD_FREE && below.state !== PENDING && isParent && below.successor === owner;
  });
}

/** What is to end and carries nothing goes with what is dropped, and so on downwards. */
function dropWithoutChildren(directory: readonly Entry[], drop: number[]): void {
  const carries = (owner: number): boolean => {
    return directory.some((entry, d) => entry.state !== RECORD_FREE && entry.parent === owner && !drop.includes(d));
  };
  for (let before = -1; before !== drop.length; ) {
    before = drop.length;
    for (const [d, { state, owner }] of directory.entries()) {
      if (state === DELETING && !drop.includes(d) && !carries(owner)) drop.push(d);
    }
  }
}

/** Of two live instances of one name the older is kept as a deleted one, or goes into the newer on top of it. */
function judgeNames(directory: readonly Entry[], plan: Plan, mutants: Mutants): void {
  const live = new Map<number, number>();
  for (const [d, entry] of directory.entries()) {
    if (entry.state !== LIVE && !plan.complete.includes(d)) continue;
    const rival = live.get(entry.name);
    if (rival === undefined) {
      live.set(entry.name, d);
      continue;
    }
    const isNewer = entry.sequence > directory[rival].sequence;
    const wins = mutants.has("older-instance-wins") ? !isNewer : isNewer;
    const [older, newer] = wins ? [rival, d] : [d, rival];
    plan.retire.push({ d: older, state: retiredState(mutants, directory[older], directory[newer]) });
    live.set(entry.name, newer);
  }
}

function judgeMerges(directory: readonly Entry[], plan: Plan): void {
  for (const [d, { state, owner }] of directory.entries()) {
    if (state !== DELETING || plan.drop.includes(d)) continue;
    const children = directory.filter((entry) => entry.state !== RECORD_FREE && entry.parent === owner);
    if (children.length === 1 && children[0].state !== PENDING) plan.merge.push(d);
  }
}

/** Before any other record is rewritten: the one below would no longer name its successor. */
export function completeSnapshots(writer: Writer, plan: Plan): void {
  for (const d of plan.complete) run(writeRecord(writer, d, { state: LIVE }, "open.complete"));
}

export function finishTree(writer: Writer, plan: Plan): void {
  const { region } = writer;
  for (const { d, state } of plan.retire) run(writeRecord(writer, d, { state }, "open.retire"));
  for (;;) {
    const next = [...region.directory.keys()].find((d) => canFinish(region, d));
    if (next === undefined) return;
    run(finish(writer, next));
  }
}
