import { isSealed, PerdureError, seal } from "../base/index.ts";
import {
  formatTypeOf,
  hasOddParity,
  refuseHalfFormatted,
  superblockBytes,
  superblockHead,
  writeMagic,
  writeType,
} from "../format/index.ts";
import { makesSense } from "./analyze.ts";
import { kind, kindOf } from "./claim.ts";
import { readDual } from "./dual-record.ts";
import type { Finding } from "./findings.ts";
import { FrameTable, readEntry } from "./frame-table.ts";
import { encodeGeometry, readGeometry, Shape } from "./geometry.ts";
import {
  formatType,
  lifeLayout,
  maxLives,
  type RegionStateRecord,
  regionState,
  stateLayout,
  stateSlots,
  superblockOffsets,
} from "./layout.ts";
import type { PlannedMemory } from "./planned-memory.ts";
import { isSound } from "./read-directory.ts";
import type { Mends } from "./repair-patient.ts";
import { mendTwins } from "./repair-twins.ts";

/** What geometry and type leave alone: magic and type belong to the registry. */
const GEOMETRY_FROM = superblockHead.sizeBytes;

/**
 * Mends head, geometry and state record, without which nothing else can be analysed. A memory without magic is a region
 * only when its geometry and its state say so by themselves.
 *
 * @returns what was wrong
 * @throws CORRUPT when too little is left; UNFORMATTED, UNKNOWN_FORMAT, UNSUPPORTED_VERSION
 */
export function mendSuperblock(memory: PlannedMemory, mends: Mends): Finding[] {
  const findings: Finding[] = [];
  const type = formatTypeOf(memory.read(0, superblockHead.sizeBytes));
  const { source } = memory.ranges[0];
  // Types have odd parity, so a flipped bit gives none.
  if (type !== undefined && type !== formatType && hasOddParity(type)) {
    throw new PerdureError("UNKNOWN_FORMAT", `${source} is of format type ${type}, and no region`);
  }
  // What is laid out so far looks like a region that lost its magic, and never was one.
  refuseHalfFormatted(memory);
  const { geometry, fromCopy } = readGeometry(memory);
  const shape = new Shape(geometry);
  const mayRebuild = type === formatType || isZeroed(memory, shape);
  const problem = mendState(memory, shape, mayRebuild, mends);
  if (type !== formatType) {
    findings.push(nameless(type));
    writeType(memory, formatType);
    writeMagic(memory);
    mends.add({ where: "geometry", page: 0, text: "magic and type are written again", isLoss: false });
  }
  if (fromCopy) {
    const found = "damage; the copy was used";
    findings.push({ where: "geometry", problem: "geometry", expected: "a right CRC", found });
    memory.fill(GEOMETRY_FROM, encodeGeometry(geometry).subarray(GEOMETRY_FROM));
    mends.add({ where: "geometry", text: "written again from its copy", isLoss: false });
  }
  if (problem !== undefined) findings.push(problem);
  return findings;
}

// A superblock of zeroes was lost as a whole, and nobody else has stored anything there: the frame table says whose the
// memory is.
function isZeroed(memory: PlannedMemory, shape: Shape): boolean {
  if (memory.read(0, superblockBytes).some((byte) => byte !== 0)) return false;
  return Array.from({ length: shape.firstPage }, (_, page) => page).every((page) => {
    const { index, claim } = readEntry(memory, shape, page);
    return index === page && kindOf(claim) === kind.meta && isSound(page, index, claim);
  });
}

function nameless(type: number | undefined): Finding {
  return type === undefined
    ? { where: "geometry", problem: "head", page: 0, expected: "the magic of a superblock", found: "none" }
    : { where: "geometry", problem: "head", page: 0, expected: `format type ${formatType}`, found: `${type}` };
}

function mendState(memory: PlannedMemory, shape: Shape, mayRebuild: boolean, mends: Mends): Finding | undefined {
  const [a, b] = [stateSlots.a, stateSlots.b].map((slot) => memory.read(slot, stateLayout.sizeBytes));
  const dual = readDual(stateLayout, stateSlots, a, b);
  const winner = dual.kind === "valid" ? stateLayout.decode(dual.bytes) : undefined;
  if (winner !== undefined && makesSense(winner, shape)) return undefined;
  const [mended, text, isLoss] = mendedState(shape, a, b) ?? rebuiltState(memory, shape, mayRebuild);
  const encoded = seal(stateLayout.encode(mended), stateLayout.fields.crc);
  for (const slot of [stateSlots.a, stateSlots.b]) memory.fill(slot, encoded);
  const isCutOff = winner?.state === regionState.repairing;
  mends.add({ where: "state", text: isCutOff ? "a repair that was cut off is done again" : text, isLoss });
  const why = dual.kind === "corrupt" ? dual.why : dual.kind === "blank" ? "a blank one" : "one that makes no sense";
  const [expected, found] = isCutOff ? ["a repair that has ended", "one that was cut off"] : ["a state record", why];
  return { where: "state", problem: "state", expected, found };
}

type MendedState = readonly [state: RegionStateRecord, text: string, isLoss: boolean];

function mendedState(shape: Shape, a: Uint8Array, b: Uint8Array): MendedState | undefined {
  const states = [a, b].filter(isWritten).map((slot) => opened(stateLayout.decode(slot)));
  const [best] = states.filter((state) => makesSense(state, shape)).sort((one, two) => two.sequence - one.sequence);
  if (best !== undefined) return [best, "the slot that makes sense counts", false];
  const isGood = (bytes: Uint8Array): boolean =>
    isWritten(bytes) && makesSense(opened(stateLayout.decode(bytes)), shape);
  const mixed = mendTwins(a, b, isGood);
  if (mixed !== undefined) return [opened(stateLayout.decode(mixed)), "put together from its two slots", false];
  return undefined;
}

function isWritten(slot: Uint8Array): boolean {
  return isSealed(slot, stateLayout.fields.crc) && stateLayout.decode(slot).sequence > 0;
}

// A repair that was cut off has changed what the last close promised.
function opened(state: RegionStateRecord): RegionStateRecord {
  return state.state === regionState.repairing ? { ...state, state: regionState.open } : state;
}

function rebuiltState(memory: PlannedMemory, shape: Shape, mayRebuild: boolean): MendedState {
  if (!mayRebuild) {
    const { source } = memory.ranges[0];
    throw new PerdureError("CORRUPT", `${source}: neither magic and type nor the state record is that of a region`);
  }
  const last = lastLife(memory);
  const state = stateLayout.decode(
    stateLayout.encode({
      sequence: 1,
      generation: Math.max(1, last?.generation ?? 0),
      state: regionState.open,
      ranges: 1,
      pages: shape.pages,
      ownerPid: last?.pid ?? 0,
      bootId: last?.bootId ?? new Uint8Array(16),
      marks: [markOf(memory, shape)],
    }),
  );
  return [state, "made anew: the mark from the frame table, the generation from the lives", true];
}

function lastLife(memory: PlannedMemory): { generation: number; pid: number; bootId: Uint8Array } | undefined {
  const { sizeBytes, fields } = lifeLayout;
  return Array.from({ length: maxLives }, (_, k) => memory.read(superblockOffsets.lives + k * sizeBytes, sizeBytes))
    .filter((life) => isSealed(life, fields.crc))
    .map((life) => lifeLayout.decode(life))
    .filter(({ generation }) => generation < 2 ** 31)
    .sort((a, b) => b.generation - a.generation)[0];
}

/** The lowest mark below which every page stands that somebody claims. */
function markOf(memory: PlannedMemory, shape: Shape): number {
  let claimed = shape.firstPage - 1;
  for (const { firstPage, pages, words } of new FrameTable(memory, shape).blocks()) {
    for (let k = 0; k < pages; k++) {
      const claim = words[2 * k + 1];
      if (kindOf(claim) !== kind.free && isSound(firstPage + k, words[2 * k], claim)) claimed = firstPage + k;
    }
  }
  return Math.min(shape.pages, Math.ceil((claimed + 1) / shape.chunkPages) * shape.chunkPages);
}
