import { isSealed } from "../base/index.ts";
import { type Memory, ownerIdentity } from "../memory/index.ts";
import { lifeLayout, maxLives, maxTimeMs, type RegionStateRecord, regionState, superblockOffsets } from "./layout.ts";

/** How a start went. */
export type StartKind = "warm" | "recovered" | "cold";

/** Why it went so. The numbers stand on media, so they are never given a new meaning. */
export const startReasons = {
  closed: { number: 1, kind: "warm", text: "the last owner closed the region" },
  "owner-died": { number: 2, kind: "recovered", text: "the last owner died without closing the region" },
  "machine-restarted": { number: 3, kind: "recovered", text: "the machine was restarted while the region was open" },
  "in-use": { number: 5, kind: "warm", text: "another process has the region open; this reader sees it as it is" },
  formatted: { number: 4, kind: "cold", text: "the region was new: it had never been opened" },
  quarantined: { number: 6, kind: "cold", text: "starts failed in a row: the region before was put aside" },
} as const satisfies Record<string, { number: number; kind: StartKind; text: string }>;

export type StartReason = keyof typeof startReasons;

const startNumbers: Readonly<Record<StartKind, number>> = { warm: 1, recovered: 2, cold: 3 };

export const startNumber = (reason: StartReason): number => startNumbers[startReasons[reason].kind];

/** One generation of the region, as its table of lives tells it. */
export interface Life {
  readonly generation: number;
  readonly pid: number;
  readonly opened: Date;
  /** When it was closed; undefined when it runs or died. */
  readonly closed: Date | undefined;
  readonly end: "running" | "closed" | "died" | "machine-restarted";
  readonly start: StartKind;
  readonly reason: StartReason | "unknown";
}

/**
 * Whether a region is in use.
 *
 * - `new`: formatted and never opened
 * - `closed`: its last owner closed it
 * - `open`: its owner runs
 * - `not-closed`: its owner is gone; the next start will recover it
 */
export type RegionUse = "new" | "closed" | "open" | "not-closed";

/** The last process that wrote; undefined when there was none, and when damage has taken its number. */
export function lastOwnerOf(state: RegionStateRecord): number | undefined {
  return state.generation === 0 || state.ownerPid === 0 ? undefined : state.ownerPid;
}

/** Tells the use from the state record and from the writer's lock, which dies with the writer. */
export function useOf(memory: Memory, state: RegionStateRecord): RegionUse {
  if (state.generation === 0) return "new";
  if (state.state === regionState.closed) return "closed";
  return memory.hasWriter || !memory.readOnly ? "open" : "not-closed";
}

/** The last lives, oldest first; torn entries are left out. */
export function readLives(memory: Memory, state: RegionStateRecord): Life[] {
  const isRunning = useOf(memory, state) === "open";
  const { bootId } = ownerIdentity();
  const table = memory.read(superblockOffsets.lives, maxLives * lifeLayout.sizeBytes);
  const found = Array.from({ length: maxLives }, (_, k) =>
    table.subarray(k * lifeLayout.sizeBytes, (k + 1) * lifeLayout.sizeBytes),
  )
    .filter((encoded) => isSealed(encoded, lifeLayout.fields.crc))
    .map((encoded) => lifeLayout.decode(encoded))
    .filter(({ generation }) => generation > 0 && generation <= state.generation)
    .filter(({ openedMs, closedMs }) => Math.max(openedMs, closedMs) <= maxTimeMs)
    .sort((a, b) => a.generation - b.generation);
  return found.map((life, k) => {
    const next = found[k + 1];
    const nextBoot = next?.bootId ?? bootId;
    return {
      generation: life.generation,
      pid: life.pid,
      opened: new Date(life.openedMs),
      closed: life.closedMs === 0 ? undefined : new Date(life.closedMs),
      end:
        isRunning && life.generation === state.generation
          ? "running"
          : endOf(life, Buffer.compare(nextBoot, life.bootId) === 0),
      start: kindOfNumber(life.start),
      reason: reasonOfNumber(life.reason),
    };
  });
}

function endOf(life: { closedMs: number }, sameBoot: boolean): Life["end"] {
  if (life.closedMs !== 0) return "closed";
  return sameBoot ? "died" : "machine-restarted";
}

function kindOfNumber(number: number): StartKind {
  return (Object.keys(startNumbers) as StartKind[]).find((kind) => startNumbers[kind] === number) ?? "cold";
}

function reasonOfNumber(number: number): StartReason | "unknown" {
  const reasons = Object.keys(startReasons) as StartReason[];
  return reasons.find((reason) => startReasons[reason].number === number) ?? "unknown";
}
