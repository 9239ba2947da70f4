import { formatSize } from "../../base/index.ts";
import type { Life, RegionInfo } from "../../index.ts";
import type { CliContext } from "../context.ts";
import { openForReading } from "../open-region.ts";
import { type OtherMemory, readOther } from "../other-format.ts";
import { formatTime, print, printable, printFacts, printJson, printTable } from "../output.ts";
import { describeUse } from "../owner.ts";

/** `perdure info`: what a region is, how full it is, and who had it open; what a memory of another format says. */
export async function info(context: CliContext, flags: { json?: boolean }, source: string): Promise<void> {
  const other = readOther(source);
  if (other !== undefined) return printOther(context.process.stdout, flags, other);
  const region = await openForReading(source);
  const facts = region.info();
  await region.close();
  const { stdout } = context.process;
  if (flags.json === true) {
    const { pages, freePages, pageBytes } = facts;
    const sizes = { sizeBytes: pages * pageBytes, freeBytes: freePages * pageBytes };
    printJson(stdout, { ...facts, ...sizes });
    return;
  }
  printFacts(stdout, [
    ["region", facts.source],
    ["state", describeUse(facts.state, facts.ownerPid)],
    ["size", describeSize(facts)],
    ["free", describeFree(facts)],
    ...describeShares(facts),
    ["memory", describeMemory(facts)],
    ["instances", String(facts.instances)],
    ["checksums", facts.checksums ? "of metadata and of content" : "of metadata only"],
    ["outlives", describeSurvival(facts)],
    ["created", `${formatTime(facts.created)} UTC`],
    ["identity", `${facts.uuid}, format ${facts.format} version ${facts.version}`],
  ]);
  if (facts.lives.length === 0) return;
  print(stdout, "");
  printLives(stdout, facts.lives);
}

function printOther(stream: NodeJS.WriteStream, { json }: { json?: boolean }, other: OtherMemory): void {
  if (json === true) return printJson(stream, other);
  printFacts(stream, [
    ["memory", other.source],
    ["format", `${printable(other.name)} (${other.format})`],
    ["size", formatSize(other.sizeBytes)],
    ...Object.entries(other.facts).map(([label, value]) => [printable(label), printable(String(value))] as const),
  ]);
}

function printLives(stream: NodeJS.WriteStream, lives: readonly Life[]): void {
  const columns = [
    { head: "LIFE", align: "right" },
    { head: "PROCESS", align: "right" },
    { head: "START" },
    { head: "OPENED (UTC)" },
    { head: "CLOSED (UTC)" },
    { head: "END" },
  ] as const;
  const rows = lives.map((life) => [
    String(life.generation),
    String(life.pid),
    life.start,
    formatTime(life.opened),
    life.closed === undefined ? "-" : formatTime(life.closed),
    life.end,
  ]);
  printTable(stream, columns, rows);
}

function describeSize({ pages, pageBytes, metadataPages }: RegionInfo): string {
  const metadata = formatSize(metadataPages * pageBytes);
  return `${formatSize(pages * pageBytes)} in ${pages} pages of ${formatSize(pageBytes)}; metadata take ${metadata}`;
}

function describeFree({ freePages, reservePages, pageBytes }: RegionInfo): string {
  const reserve = formatSize(Math.min(reservePages, freePages) * pageBytes);
  return `${formatSize(freePages * pageBytes)}, of which ${reserve} are kept for overwriting`;
}

/** What of the memory is neither free for everybody nor of an instance that has a name. */
function describeShares({ promisedPages, deletedPages, hiddenPages, pageBytes }: RegionInfo): [string, string][] {
  const shares: [string, number, string][] = [
    ["guaranteed", promisedPages, "of the free memory, by quotas"],
    ["deleted", deletedPages, "that can be undeleted, until it is needed"],
    ["hidden", hiddenPages, "of purged snapshots, which clones of them still share"],
  ];
  return shares
    .filter(([, pages]) => pages > 0)
    .map(([head, pages, what]) => [head, `${formatSize(pages * pageBytes)} ${what}`]);
}

function describeMemory({ thin, backedBytes }: RegionInfo): string {
  return `${formatSize(backedBytes)}, ${thin ? "taken as it is used (thin)" : "all of it reserved"}`;
}

function describeSurvival({ survival }: RegionInfo): string {
  const outlives = ["its writer's end, orderly or by kill -9"];
  if (!survival.lastClose) outlives.push("but not the last descriptor of it");
  outlives.push(survival.powerLoss ? "and a power cut" : "not a reboot of the machine");
  return outlives.join(", ");
}
