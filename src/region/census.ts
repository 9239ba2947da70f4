import type { Memory } from "../memory/index.ts";
import type { Analysis, FoundInstance } from "./analysis.ts";
import { kind, kindOf, ownerOf } from "./claim.ts";
import type { Finding } from "./findings.ts";
import { FrameTable } from "./frame-table.ts";
import { Shape } from "./geometry.ts";
import { firstOwner, recordFlags, recordState } from "./layout.ts";
import { isSound } from "./read-directory.ts";

/** Kinds of pages, by the names that reports give them. */
const pageKinds = {
  free: kind.free,
  metadata: kind.meta,
  directory: kind.directory,
  data: kind.data,
  masks: kind.table,
  runs: kind.run,
  volatile: kind.volatile,
  bad: kind.bad,
} as const;

/** How many pages there are of each kind; `runs` are the tails of runs, whose heads are data. */
export type PageCounts = Readonly<Record<keyof typeof pageKinds, number>>;

/**
 * What an instance is.
 *
 * - `live`: it has its name; a `snapshot` is one that cannot be written
 * - `deleted`: it can be undeleted
 * - `hidden`: it was deleted for good and stays as long as others stand on it
 * - `unfinished`: pending or half-deleted; the next open for writing ends it
 * - `lost`: pages name it as their owner, but it has no record
 */
export type InstanceCondition = "live" | "snapshot" | "deleted" | "hidden" | "unfinished" | "lost";

/** What a check says of one instance. */
export interface InstanceVerdict {
  readonly owner: number;
  /** Null for one that is lost. */
  readonly subsystem: string | null;
  readonly name: string | null;
  readonly condition: InstanceCondition;
  /** Owner of the layer below, null for none. */
  readonly parent: number | null;
  /** Pages that name it as their owner, by kind. */
  readonly pages: Pick<PageCounts, "data" | "masks" | "runs" | "volatile">;
  readonly isSound: boolean;
  /** Findings that concern it, and how many pages they name. */
  readonly findingCount: number;
  readonly damagedPages: number;
}

/** All pages, counted. */
export interface Census {
  readonly counts: PageCounts;
  /** Pages below the mark with a damaged entry. */
  readonly unreadable: number;
  /** Pages above the high-water mark: free, and never used so far. */
  readonly unused: number;
  readonly instances: readonly InstanceVerdict[];
}

type Counts = Record<keyof typeof pageKinds, number>;

const noCounts = (): Counts => ({
  free: 0,
  metadata: 0,
  directory: 0,
  data: 0,
  masks: 0,
  runs: 0,
  volatile: 0,
  bad: 0,
});

/** Counts pages by kind and owner, and tells which instances the findings of an analysis concern. */
export function takeCensus(memory: Memory, analysis: Analysis): Census {
  const shape = new Shape(analysis.geometry);
  const mark = analysis.state.marks[0];
  const names: (keyof Counts)[] = [];
  for (const [name, number] of Object.entries(pageKinds)) names[number] = name as keyof Counts;
  const counts = noCounts();
  const owners = new Map<number, Counts>();
  let unreadable = 0;
  for (const { firstPage, pages, words } of new FrameTable(memory, shape).blocks()) {
    for (let k = 0; k < Math.min(pages, mark - firstPage); k++) {
      const claim = words[2 * k + 1];
      if (!isSound(firstPage + k, words[2 * k], claim)) {
        unreadable++;
        continue;
      }
      const name = names[kindOf(claim)];
      counts[name]++;
      const owner = ownerOf(claim);
      if (owner < firstOwner) continue;
      const own = owners.get(owner) ?? noCounts();
      own[name]++;
      owners.set(owner, own);
    }
  }
  const numbers = new Set([...analysis.instances.keys(), ...owners.keys()]);
  const findings = byOwner(analysis.findings);
  const instances = Array.from(numbers)
    .sort((a, b) => a - b)
    .map((owner) =>
      verdictOf(owner, analysis.instances.get(owner), owners.get(owner) ?? noCounts(), findings.get(owner) ?? []),
    );
  return { counts, unreadable, unused: Math.max(0, shape.lastPage - mark), instances };
}

function byOwner(findings: readonly Finding[]): Map<number, Finding[]> {
  const owners = new Map<number, Finding[]>();
  for (const finding of findings) {
    if (finding.owner === undefined) continue;
    const own = owners.get(finding.owner);
    if (own === undefined) owners.set(finding.owner, [finding]);
    else own.push(finding);
  }
  return owners;
}

function verdictOf(
  owner: number,
  found: FoundInstance | undefined,
  counts: Counts,
  findings: readonly Finding[],
): InstanceVerdict {
  const pages = new Set(findings.flatMap(({ page }) => page ?? []));
  const { data, masks, runs, volatile } = counts;
  return {
    owner,
    subsystem: found?.record.subsystem ?? null,
    name: found?.record.name ?? null,
    condition: found === undefined ? "lost" : conditionOf(found),
    parent: found === undefined || found.record.parent === 0 ? null : found.record.parent,
    pages: { data, masks, runs, volatile },
    isSound: findings.length === 0 && found !== undefined,
    findingCount: findings.length,
    damagedPages: pages.size,
  };
}

function conditionOf({ record, ends }: FoundInstance): InstanceCondition {
  if (ends || record.state === recordState.pending) return "unfinished";
  if (record.state === recordState.deleted) return "deleted";
  if (record.state === recordState.deleting) return "hidden";
  return (record.flags & recordFlags.readOnly) === 0 ? "live" : "snapshot";
}
