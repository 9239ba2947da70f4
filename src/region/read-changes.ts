import { assert } from "../base/index.ts";
import { kind } from "./claim.ts";
import type { RegionCore } from "./core.ts";
import { readDual } from "./dual-record.ts";
import { InstanceState } from "./instance-state.ts";
import { firstOwner, type InstanceRecord, recordLayout, recordState, regionOwner } from "./layout.ts";
import { newInstance } from "./read-directory.ts";
import { nameKey, recordCapacity, recordSlots } from "./records.ts";

/** A record is rewritten in some microseconds; whoever meets both slots torn looks again, this often. */
const MOST_LOOKS = 100_000;

/** Learns where the directory has pages now. */
export function readDirectoryPages(core: RegionCore): void {
  const table = core.arena.table(regionOwner, kind.directory);
  for (const index of table.indices(0, 2 ** 32)) {
    while (core.directoryPages.length < index) core.directoryPages.push(0);
    core.directoryPages[index] = table.get(index);
  }
}

/**
 * Makes the instances that a thread knows agree with the records that others have rewritten; without a list of owners,
 * with all records. It takes no lock: a record that is just being rewritten will be told of again.
 *
 * @returns false when it met two that are exchanging what they are known by: one of them stands on itself now, and no
 * look-up through that would end. What they are told of next settles it.
 */
export function readChanges(core: RegionCore, owners: Iterable<number> | undefined): boolean {
  const changed: InstanceState[] = [];
  const gone: number[] = [];
  let isTreeChanged = false;
  for (const owner of owners ?? allOwners(core)) {
    const record = readRecord(core, owner);
    if (record === undefined || record.state === recordState.free) {
      gone.push(owner);
      continue;
    }
    const found = newInstance(record, core.shape.pageBytes, core.arena);
    const line = core.owners.lineOf(owner);
    const state = core.known.byLine.get(line) ?? new InstanceState(found, core, line);
    // What is known, not `state.isPending`: that would catch up in here, and older records would replace newer ones.
    const wasPending = state.known.state === recordState.pending;
    isTreeChanged ||= state.owner !== owner || wasPending !== (record.state === recordState.pending);
    unname(core, state);
    state.become(found);
    core.known.byLine.set(state.line, state);
    core.known.byOwner.set(owner, state);
    changed.push(state);
  }
  // Only now is it known which of them were handed on to another owner before their old one ended.
  for (const owner of gone) isTreeChanged = forget(core, owner) || isTreeChanged;
  for (const state of changed) name(core, state);
  // Who stands on whom, and who is being saved, is known by owner: it may be another state by now.
  for (const state of isTreeChanged ? core.known.byOwner.values() : changed) {
    state.parent = core.known.byOwner.get(state.known.parent);
  }
  if (isTreeChanged || changed.some(({ known }) => known.state === recordState.pending)) readSaves(core);
  return changed.every((state) => state.parent !== state);
}

function* allOwners(core: RegionCore): Generator<number, void, undefined> {
  const records = recordCapacity(core.shape, core.directoryPages);
  for (let record = 0; record < records; record++) yield record + firstOwner;
}

/** The record of an owner; undefined for one that was never written. */
function readRecord(core: RegionCore, owner: number): InstanceRecord | undefined {
  const slots = recordSlots(core.shape, core.directoryPages, owner - firstOwner);
  if (slots === undefined) return undefined;
  for (let looks = 0; looks < MOST_LOOKS; looks++) {
    const a = core.memory.bytes(slots.a, recordLayout.sizeBytes).slice();
    const b = core.memory.bytes(slots.b, recordLayout.sizeBytes).slice();
    const dual = readDual(recordLayout, slots, a, b);
    if (dual.kind === "valid") return recordLayout.decode(dual.bytes);
    if (dual.kind === "blank") return undefined;
  }
  assert(false, "one slot of a record counts at any time");
}

/** @returns false when it was not known */
function forget(core: RegionCore, owner: number): boolean {
  const state = core.known.byOwner.get(owner);
  core.arena.forget(owner);
  core.known.byOwner.delete(owner);
  if (state?.owner !== owner) return state !== undefined;
  unname(core, state);
  state.deleted = true;
  state.isEnded = true;
  core.known.byLine.delete(state.line);
  return true;
}

function unname(core: RegionCore, state: InstanceState): void {
  for (const key of [nameKey(state.known.subsystem, state.known.name), state.keptKey ?? ""])
    if (core.known.byName.get(key) === state) core.known.byName.delete(key);
  state.keptKey = undefined;
}

// While a name goes from one to the next two records have it: the newer one counts.
function name(core: RegionCore, state: InstanceState): void {
  const { subsystem, name: own } = state.known;
  const top = core.known.byOwner.get(state.known.successor);
  // A snapshot keeps the name of the layer over it until its handles go on with that layer.
  const isKept = top?.known.state === recordState.pending && !hasSucceeded(core, top.owner);
  if (state.known.state !== recordState.live && !isSuccessor(core, state)) return;
  const key = nameKey(subsystem, isKept ? top.known.name : own);
  if (isKept) state.keptKey = key;
  const holder = core.known.byName.get(key);
  if (holder === undefined || holder.known.sequence < state.known.sequence) core.known.byName.set(key, state);
}

/** The handles of a snapshot have gone on with a layer over it: it will be live, whatever happens. */
function isSuccessor(core: RegionCore, { owner, known }: InstanceState): boolean {
  const below = core.known.byOwner.get(known.parent);
  return known.state === recordState.pending && below?.known.successor === owner && hasSucceeded(core, owner);
}

const hasSucceeded = (core: RegionCore, owner: number): boolean => core.owners.lineOf(owner) !== owner;

function readSaves(core: RegionCore): void {
  for (const state of core.known.byOwner.values()) state.save = undefined;
  for (const state of core.known.byOwner.values()) {
    if (state.known.state !== recordState.pending) continue;
    const source = core.known.byOwner.get(state.known.source);
    if (source !== undefined) source.save = state;
    if (state.parent !== undefined) state.parent.save = state;
  }
}
