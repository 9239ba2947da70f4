import { kindOf, makeClaim, ownerOf, revisionOf, syndrome } from "./check-code.ts";
import { freeRecord, giveTo } from "./directory.ts";
import { type DualRecord, healDual, readDual, sealed } from "./dual-record.ts";
import { tableSum } from "./instances.ts";
import {
  CLOSED,
  DATA,
  DIRECTORY,
  directoryLimit,
  directoryOwner,
  endPage,
  FREE,
  firstOwner,
  firstPage,
  frameAt,
  HEAD,
  type Kind,
  LIVE,
  nameKey,
  OPEN,
  PENDING,
  pageAt,
  RECORD_FREE,
  RUN,
  type State,
  slotWords,
  superblockAt,
  superblockField,
  TABLE,
  tableIndices,
  tailsOf,
  VOLATILE,
} from "./layout.ts";
import type { Media } from "./media.ts";
import type { Mutants } from "./mutant-names.ts";
import { commitFree, writeSuperblock } from "./pages.ts";
import { type Entry, emptyEntry, readEntry } from "./record.ts";
import { Region, type RegionOptions } from "./region.ts";
import { run } from "./tasks.ts";
import { completeSnapshots, finishTree, judgeTree } from "./tree-recovery.ts";
import { Writer } from "./writer.ts";

/** What a writer must do before it goes on. */
export interface Plan {
  /** Dual records whose slots differ. */
  readonly heal: DualRecord[];
  /** Pages of a save that never committed, and the owner they go back to. */
  readonly giveBack: { page: number; owner: number }[];
  /** VOLATILE pages, losers, pages beyond a size and of dropped instances. */
  readonly withdraw: number[];
  /** Tails of withdrawn heads and tails without a head: only after `withdraw` is durable. */
  readonly withdrawTails: number[];
  /** Directory indices of the new tops of snapshots that committed. */
  readonly complete: number[];
  /** Directory indices of instances to end, none before what stands on it. */
  readonly drop: number[];
  /** Instances whose name a newer one has. */
  readonly retire: { d: number; state: State }[];
  /** Directory indices of instances to merge into what stands on them. More may follow from it. */
  readonly merge: number[];
}

/** What the media say, with everything that no crash can explain. */
export interface Analysis {
  readonly findings: string[];
  readonly plan: Plan;
  readonly directory: Entry[];
  readonly tables: Map<number, number>;
  readonly free: number[];
  superblock: DualRecord;
  sequence: number;
  mark: number;
  generation: number;
  writerId: number;
}

interface Claim {
  readonly page: number;
  readonly index: number;
  readonly kind: Kind;
  readonly revision: number;
  readonly owner: number;
}

/** Reads the media once and changes nothing. */
export function analyze(words: Uint32Array, mutants: Mutants): Analysis {
  const analysis: Analysis = {
    findings: [],
    plan: { heal: [], giveBack: [], withdraw: [], withdrawTails: [], complete: [], drop: [], retire: [], merge: [] },
    directory: Array.from({ length: directoryLimit }, () => emptyEntry(-1)),
    tables: new Map(),
    free: [],
    superblock: readDual(words, superblockAt, mutants),
    sequence: 0,
    mark: firstPage,
    generation: 0,
    writerId: 0,
  };
  if (analysis.superblock.winner < 0) {
    analysis.findings.push("the superblock has no complete slot");
    return analysis;
  }
  readSuperblock(words, analysis);
  const claims = readFrames(words, analysis, mutants);
  readDirectory(words, analysis, claims, mutants);
  if (analysis.findings.length > 0) return analysis;
  judgeTree(analysis, mutants);
  if (analysis.findings.length > 0) return analysis;
  judgeClaims(analysis, claims, mutants);
  return analysis;
}

function readSuperblock(words: Uint32Array, analysis: Analysis): void {
  const at = analysis.superblock.winner;
  analysis.sequence = words[at + superblockField.sequence];
  analysis.generation = words[at + superblockField.generation];
  analysis.mark = words[at + superblockField.mark];
  analysis.writerId = words[at + superblockField.writer];
  if (words[at + superblockField.state] !== CLOSED) return;
  // Only an orderly close leaves a sum: it shows an older self of the table, which nothing can after a crash.
  if (words[at + superblockField.tableSum] !== tableSum(words, analysis.mark)) {
    analysis.findings.push("the frame table is not the one that was closed");
  }
}

/** Sorts the frame entries: free pages, claims, and what must not be there. */
function readFrames(words: Uint32Array, analysis: Analysis, mutants: Mutants): Claim[] {
  const claims: Claim[] = [];
  for (let page = firstPage; page < endPage; page++) {
    const index = words[frameAt(page)];
    const word = words[frameAt(page) + 1];
    const good = syndrome(page, index, word) === 0;
    const kind = kindOf(word);
    if (page >= analysis.mark) {
      const stray = mutants.has("strict-above-mark") ? word !== 0 && !(good && kind === FREE) : good && kind > FREE;
      if (stray && !mutants.has("above-mark-ignored")) analysis.findings.push(`page ${page} is claimed above the mark`);
    } else if (!good) {
      analysis.findings.push(`the check of page ${page} is bad`);
    } else if (kind === FREE) {
      analysis.free.push(page);
    } else {
      claims.push({ page, index, kind: kind as Kind, revision: revisionOf(word), owner: ownerOf(word) });
    }
  }
  return claims;
}

function readDirectory(words: Uint32Array, analysis: Analysis, claims: Claim[], mutants: Mutants): void {
  const { findings, directory, plan } = analysis;
  for (const { page, kind, index, owner } of claims) {
    if (owner !== directoryOwner) continue;
    if (kind !== DIRECTORY || index >= directoryLimit || directory[index].page >= 0) {
      findings.push(`page ${page} is no page of the directory`);
      continue;
    }
    const record = readDual(words, pageAt(page), mutants);
    if (record.damaged) findings.push(`record ${index} has no complete slot`);
    if (record.loser >= 0) plan.heal.push(record);
    directory[index] = record.winner < 0 ? emptyEntry(page) : readEntry(words, record.winner, page);
    analysis.sequence = Math.max(analysis.sequence, directory[index].sequence);
  }
}

function judgeClaims(analysis: Analysis, claims: Claim[], mutants: Mutants): void {
  const { directory, plan, findings, tables } = analysis;
  const byOwner = new Map<number, number>();
  for (const [d, entry] of directory.entries()) if (entry.state !== RECORD_FREE) byOwner.set(entry.owner, d);
  const dropped = new Set(plan.drop);
  const winners = new Map<number, Claim>();
  const heads = new Map<number, Claim>();
  const tails: Claim[] = [];
  const withdrawn = new Set<number>();
  const claimants = new Map<number, number>();
  for (const raw of claims) {
    if (raw.owner === directoryOwner) continue;
    const found = byOwner.get(raw.owner);
    if (found === undefined || raw.kind < DATA || raw.kind > TABLE) {
      findings.push(`page ${raw.page} is claimed by owner ${raw.owner}, which does not exist`);
      continue;
    }
    const d = mutants.has("no-give-back") ? found : sourceOf(directory, byOwner, dropped, found);
    const entry = directory[d];
    const claim: Claim = { ...raw, owner: entry.owner };
    if (raw.kind === RUN) {
      tails.push(claim);
      continue;
    }
    if (raw.kind === HEAD) heads.set(raw.page, claim);
    const outside = raw.kind === TABLE ? raw.index * tableIndices >= entry.reach : raw.index >= entry.size;
    const beyond = outside && !mutants.has("beyond-size-kept");
    if (dropped.has(d) || (raw.kind === VOLATILE && !mutants.has("volatile-kept")) || beyond) {
      withdrawn.add(raw.page);
      continue;
    }
    const key = nameKey(claim.owner, raw.kind, raw.index);
    claimants.set(key, (claimants.get(key) ?? 0) + 1);
    const loser = loserOf(winners, key, claim, mutants);
    if (loser === "conflict" || (claimants.get(key) as number) > 2)
      findings.push(`page ${raw.page} claims a name in vain`);
    else if (loser !== undefined) withdrawn.add(loser.page);
  }
  for (const [key, claim] of winners) tables.set(key, claim.page);
  judgeRuns(analysis, heads, tails, withdrawn, mutants);
  plan.withdraw.push(...withdrawn);
  const leaving = new Set([...plan.withdraw, ...plan.withdrawTails]);
  for (const { page, owner } of claims) {
    const d = byOwner.get(owner);
    if (d === undefined || leaving.has(page)) continue;
    const source = directory[sourceOf(directory, byOwner, dropped, d)].owner;
    if (source !== owner) plan.giveBack.push({ page, owner: source });
  }
}

/** Until a save commits, its pages belong to the instance that it took them from. */
function sourceOf(directory: Entry[], byOwner: Map<number, number>, dropped: Set<number>, d: number): number {
  const { state, source } = directory[d];
  const from = byOwner.get(source);
  if (state !== PENDING || from === undefined) return d;
  return directory[from].state === LIVE && !dropped.has(from) ? from : d;
}

/** The newest claim of a name wins; revisions that are not adjacent mod 4 are never left by a crash. */
function loserOf(
  winners: Map<number, Claim>,
  key: number,
  claim: Claim,
  mutants: Mutants,
): Claim | "conflict" | undefined {
  const rival = winners.get(key);
  if (rival === undefined) {
    winners.set(key, claim);
    return undefined;
  }
  let ahead = (claim.revision - rival.revision) & 3;
  if (mutants.has("highest-revision-wins")) ahead = claim.revision > rival.revision ? 1 : 3;
  if (mutants.has("older-revision-wins")) ahead = (4 - ahead) & 3;
  if (ahead === 3) return claim;
  if (ahead !== 1) return "conflict";
  winners.set(key, claim);
  return rival;
}

/** A head stands only with all its tails; a tail belongs to the head at the start of its aligned place. */
function judgeRuns(
  analysis: Analysis,
  heads: Map<number, Claim>,
  tails: Claim[],
  withdrawn: Set<number>,
  mutants: Mutants,
): void {
  const { findings, plan } = analysis;
  const complete = new Map<number, number>();
  for (const tail of tails) {
    const place = tail.page - (tail.page % (tailsOf(0).length + 1));
    const head = heads.get(place);
    const belongs =
      head !== undefined &&
      head.owner === tail.owner &&
      tail.index === head.index + tail.page - place &&
      (tail.revision === head.revision || mutants.has("tail-of-any-revision"));
    if (belongs) complete.set(place, (complete.get(place) ?? 0) + 1);
    if (!belongs || withdrawn.has(place)) plan.withdrawTails.push(tail.page);
  }
  for (const page of heads.keys()) {
    if (complete.get(page) !== tailsOf(page).length) findings.push(`the run at page ${page} lacks tails`);
  }
}

/** Thrown when the media hold what the rules exclude. */
export class Corruption extends Error {}

/** Opens a region, applying the plan of its analysis. @throws Corruption */
export function open(media: Media, options: RegionOptions, writerId = 1): Region {
  const { mutants } = options;
  const analysis = analyze(media.words, mutants);
  if (analysis.findings.length > 0) throw new Corruption(analysis.findings[0]);
  const region = regionOf(media, options, analysis);
  const trusted = mutants.has("trusts-writer-id") && analysis.writerId === writerId;
  region.writerId = writerId;
  apply(new Writer(region, 0), analysis, trusted);
  return region;
}

function regionOf(media: Media, options: RegionOptions, analysis: Analysis): Region {
  const region = new Region(media, options);
  region.directory = analysis.directory.map((entry) => ({ ...entry }));
  region.tables = analysis.tables;
  region.free = analysis.free;
  region.sequence = options.mutants.has("sequence-restarts")
    ? media.words[analysis.superblock.winner]
    : analysis.sequence;
  region.mark = analysis.mark;
  region.generation = analysis.generation + 1;
  region.nextOwner = Math.max(firstOwner - 1, ...region.directory.map((entry) => entry.owner)) + 1;
  return region;
}

function apply(writer: Writer, analysis: Analysis, trusted: boolean): void {
  const { mutants } = writer.region;
  const { plan } = analysis;
  adopt(writer, analysis);
  // Durable before the first store: else the superblock's slots could be torn while their twins are still in caches.
  writer.fence("open.adopt");
  // 'open' is durable before any other store: a closed region's sum would not fit what comes next.
  if (!mutants.has("open-state-last")) run(writeSuperblock(writer, "open.superblock", {}));
  // The next fence covers what is healed: no record is rewritten before it.
  if (!mutants.has("not-healed")) for (const record of plan.heal) healDual(writer, record);
  if (mutants.has("completed-before-healed")) completeSnapshots(writer, plan);
  if (!trusted) {
    for (const { page, owner } of plan.giveBack) giveTo(writer, page, owner);
    if (mutants.has("records-freed-before-pages")) dropRecords(writer, plan);
    const tailsFirst = mutants.has("tails-freed-with-heads");
    freePages(writer, tailsFirst ? [...plan.withdrawTails, ...plan.withdraw] : plan.withdraw);
    writer.fence("open.frees");
    if (!tailsFirst) {
      freePages(writer, plan.withdrawTails);
      writer.fence("open.tails");
    }
    if (!mutants.has("completed-before-healed")) completeSnapshots(writer, plan);
    if (!mutants.has("records-freed-before-pages")) dropRecords(writer, plan);
  }
  finishTree(writer, plan);
  if (mutants.has("open-state-last")) run(writeSuperblock(writer, "open.superblock", {}));
  // In limbo mode the second slots of the records written here are still to be fenced.
  if (writer.unsettled.size > 0) writer.fence("settle");
}

/** Flushes what the dead writer may have left in caches. */
function adopt(writer: Writer, analysis: Analysis): void {
  const { mutants } = writer.region;
  if (mutants.has("not-adopted")) return;
  if (!mutants.has("only-metadata-adopted")) return writer.memory.flushAll();
  writer.memory.flush(superblockAt, frameAt(endPage) - superblockAt);
  for (const { page } of analysis.directory) if (page >= 0) writer.memory.flush(pageAt(page), 2 * slotWords);
}

function freePages(writer: Writer, pages: readonly number[]): void {
  for (const page of pages) commitFree(writer, page);
  writer.limbo.push(...pages);
}

function dropRecords(writer: Writer, plan: Plan): void {
  const order = writer.region.mutants.has("parents-dropped-first") ? plan.drop.toReversed() : plan.drop;
  for (const d of order) run(freeRecord(writer, d, "open.record"));
}

/** Writes an empty region: a superblock and the entries of the first chunks. */
export function format(media: Media, mark: number): void {
  const { words } = media;
  words.fill(0);
  const slot = sealed([1, OPEN, 1, mark, 0, 0]);
  words.set(slot, superblockAt);
  words.set(slot, superblockAt + slotWords);
  for (let page = firstPage; page < mark; page++) {
    words[frameAt(page) + 1] = makeClaim(page, { owner: 0, kind: FREE, index: 0 }, 0);
  }
}
