import type { FoundInstance, Plan } from "./analysis.ts";
import type { Findings } from "./findings.ts";
import { recordFlags, recordState } from "./layout.ts";
import { nameKey } from "./records.ts";

type Instances = Map<number, FoundInstance>;

/**
 * Decides what becomes of every instance that the directory tells of: a snapshot that was left half-way is finished,
 * what was not committed or was being deleted ends, and of two of one name the newer stays.
 */
export function settleLayers(instances: Instances, version: number, plan: Plan, findings: Findings): void {
  refuseBadParents(instances, version, findings);
  for (const instance of instances.values())
    if (instance.record.state === recordState.pending) settlePending(instance, instances, plan);
  settleNames(instances, version, plan);
  endDeleting(instances);
  refuseWritableParents(instances, findings);
  const ended = Array.from(instances.values()).filter(({ ends }) => ends);
  for (const instance of ended) instance.limit = 0;
  // As long as a layer has a record, what it stands on has one, too: deeper layers end first.
  const depths = depthsOf(instances);
  const depth = (instance: FoundInstance): number => depths.get(instance) ?? 0;
  for (const { owner } of ended.sort((a, b) => depth(b) - depth(a))) plan.endRecords.push(owner);
}

function parentOf(instance: FoundInstance, instances: Instances): FoundInstance | undefined {
  return instance.record.parent === 0 ? undefined : instances.get(instance.record.parent);
}

/** How many layers each instance stands on. */
function depthsOf(instances: Instances): Map<FoundInstance, number> {
  const depths = new Map<FoundInstance, number>();
  for (const instance of instances.values()) {
    const chain: FoundInstance[] = [];
    let layer: FoundInstance | undefined = instance;
    for (; layer !== undefined && !depths.has(layer); layer = parentOf(layer, instances)) chain.push(layer);
    let depth = layer === undefined ? 0 : (depths.get(layer) ?? 0) + 1;
    for (const one of chain.toReversed()) depths.set(one, depth++);
  }
  return depths;
}

// From here on every chain of parents ends: one that does not is cut, so that nobody walks it for ever.
function refuseBadParents(instances: Instances, version: number, findings: Findings): void {
  const sound = new Set<FoundInstance>();
  for (const instance of instances.values()) {
    const chain = new Set<FoundInstance>();
    for (let layer: FoundInstance | undefined = instance; layer !== undefined && !sound.has(layer); ) {
      chain.add(layer);
      const parent: FoundInstance | undefined = parentOf(layer, instances);
      const isBad: boolean = layer.record.parent !== 0 && (version === 0 || parent === undefined || chain.has(parent));
      if (isBad) {
        const { owner, record } = layer;
        const expected =
          version === 0 ? "no parent in format version 0" : "a parent that exists and is no layer of its own";
        findings.add({ where: "directory", problem: "parent", owner, expected, found: `owner ${record.parent}` });
        layer.record = { ...record, parent: 0 };
      }
      layer = isBad ? undefined : parent;
    }
    for (const layer of chain) sound.add(layer);
  }
}

// A snapshot is committed by the record that renames the old layer and names its successor.
function settlePending(instance: FoundInstance, instances: Instances, plan: Plan): void {
  const parent = parentOf(instance, instances);
  const isCommitted = parent?.record.successor === instance.owner && parent.record.state !== recordState.pending;
  if (isCommitted) restate(instance, recordState.live, plan);
  else instance.ends = true;
}

function restate(instance: FoundInstance, state: number, plan: Plan, deletedMs = 0): void {
  // A loser of a name is deleted since its winner was made.
  instance.record = { ...instance.record, state, deletedMs };
  plan.restate.push(instance.owner);
}

// Of two live records of one name the newer sequence stays. The older one was replaced by it: by a save that is a layer
// over it, or by a promotion, and then it is kept as a deleted one.
function settleNames(instances: Instances, version: number, plan: Plan): void {
  const live = new Map<string, FoundInstance>();
  for (const instance of instances.values()) {
    const { record } = instance;
    if (record.state !== recordState.live) continue;
    const key = nameKey(record.subsystem, record.name);
    const other = live.get(key);
    const isOlder = other !== undefined && other.record.sequence > record.sequence;
    if (!isOlder) live.set(key, instance);
    if (other === undefined) continue;
    const [winner, loser] = isOlder ? [other, instance] : [instance, other];
    const isBelow = winner.record.parent === loser.owner;
    if (isBelow || version === 0) restate(loser, recordState.deleting, plan);
    else restate(loser, recordState.deleted, plan, winner.record.changedMs);
  }
}

// A layer that is being deleted stays as long as another one stands on it.
function endDeleting(instances: Instances): void {
  const layers = new Map<FoundInstance, number>();
  const count = (instance: FoundInstance, change: number): number => {
    const now = (layers.get(instance) ?? 0) + change;
    layers.set(instance, now);
    return now;
  };
  for (const instance of instances.values()) {
    const parent = instance.ends ? undefined : parentOf(instance, instances);
    if (parent !== undefined) count(parent, 1);
  }
  const end = (instance: FoundInstance): void => {
    for (let layer: FoundInstance | undefined = instance; layer !== undefined; ) {
      layer.ends = true;
      const parent = parentOf(layer, instances);
      layer =
        parent !== undefined && count(parent, -1) === 0 && parent.record.state === recordState.deleting
          ? parent
          : undefined;
    }
  };
  for (const instance of instances.values()) {
    const isDeleting = instance.record.state === recordState.deleting;
    if (isDeleting && !instance.ends && (layers.get(instance) ?? 0) === 0) end(instance);
  }
}

/**
 * A guarantee is given where there is room for it, so all of them together are never more pages than there are. Where
 * they are, those of the highest owners are too many.
 */
export function refuseOverpromised(instances: Instances, pages: number, findings: Findings): void {
  let left = pages;
  for (const { owner, ends, record } of instances.values()) {
    if (ends || record.state === recordState.deleting || record.state === recordState.deleted) continue;
    const { quotaMinPages } = record;
    if (quotaMinPages <= left) left -= quotaMinPages;
    else {
      const [expected, found] = [`at most ${left} pages guaranteed`, `${quotaMinPages}`];
      findings.add({ where: "directory", problem: "quota", owner, expected, found });
    }
  }
}

// What a layer stands on never changes: it is a snapshot, or hidden.
function refuseWritableParents(instances: Instances, findings: Findings): void {
  for (const instance of instances.values()) {
    const parent = instance.ends ? undefined : parentOf(instance, instances);
    if (parent === undefined) continue;
    const { state, flags } = parent.record;
    if (!parent.ends && (state === recordState.deleting || (flags & recordFlags.readOnly) !== 0)) continue;
    const { owner } = instance;
    findings.add({
      where: "directory",
      problem: "writable-parent",
      owner,
      expected: "a parent that is a snapshot",
      found: `owner ${parent.owner}`,
    });
  }
}
