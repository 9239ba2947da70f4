import { isSealed } from "../base/index.ts";
import type { Memory } from "../memory/index.ts";
import { lifeLayout, maxLives, type RegionStateRecord, superblockOffsets } from "./layout.ts";

/** How a start went. */
export type StartKind = "warm" | "recovered" | "cold";

/** Why it went so. The numbers stand on media, so they are never given a new meaning. */
export const startReasons = {
  closed: { number: 1, kind: "warm", text: "the last owner closed the region" },
  "owner-died": { number: 2, kind: "recovered", text: "the last owner died without closing the region" },
  "machine-restarted": { number: 3, kind: "recovered", text: "the machine was restarted while the region was open" },
  formatted: { number: 4, kind: "cold", text: "the region was new: it had never been opened" },
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

/** The last lives, oldest first; torn entries are left out. */
export function readLives(memory: Memory, state: RegionStateRecord): Life[] {
  const table = memory.read(superblockOffsets.lives, maxLives * lifeLayout.sizeBytes);
  const found = Array.from({ length: maxLives }, (_, k) =>
    table.subarray(k * lifeLayout.sizeBytes, (k + 1) * lifeLayout.sizeBytes),
  )
    .filter((encoded) => isSealed(encoded, lifeLayout.fields.crc))
    .map((encoded) => lifeLayout.decode(encoded))
    .filter(({ generation }) => generation > 0 && generation <= state.generation)
    .sort((a, b) => a.generation - b.generation);
  return found.map((life, k) => {
    const next = found[k + 1];
    const bootOfNext = next?.bootId ?? life.bootId;
    return {
      generation: life.generation,
      pid: life.pid,
      opened: new Date(life.openedMs),
      closed: life.closedMs === 0 ? undefined : new Date(life.closedMs),
      end: endOf(life, state, Buffer.compare(bootOfNext, life.bootId) === 0),
      start: kindOfNumber(life.start),
      reason: reasonOfNumber(life.reason),
    };
  });
}

function endOf(
  life: { generation: number; closedMs: number },
  state: RegionStateRecord,
  sameBoot: boolean,
): Life["end"] {
  if (life.closedMs !== 0) return "closed";
  if (life.generation === state.generation) return "running";
  return sameBoot ? "died" : "machine-restarted";
}

function kindOfNumber(number: number): StartKind {
  return (Object.keys(startNumbers) as StartKind[]).find((kind) => startNumbers[kind] === number) ?? "cold";
}

function reasonOfNumber(number: number): StartReason | "unknown" {
  const reasons = Object.keys(startReasons) as StartReason[];
  return reasons.find((reason) => startReasons[reason].number === number) ?? "unknown";
}
