import type { FaultName, FenceName, HarmlessName } from "./mutant-names.ts";
import { faults, fences, harmless } from "./mutants.ts";
import { scenarios } from "./scenarios.ts";
import type { Mutant, Search } from "./searches.ts";

/** The tables of docs/model.md, made from those of the code so that they cannot go stale. */
export function tablesMarkdown(): string {
  return [scenarioTable(), faultTable(), fenceTable(), harmlessTable()].join("\n\n");
}

function scenarioTable(): string {
  const rows = Object.entries(scenarios).map(([name, { threads }]) => {
    const [first, second] = threads.map((operations) => operations.map(({ title }) => title).join(", "));
    return [name, first, second];
  });
  return section("Scenarios of two threads", ["scenario", "one thread", "the other"], rows);
}

function faultTable(): string {
  return section("Faults that must be caught", ["mutant", "rule", "what it does", "caught by"], mutantRows(faults));
}

function harmlessTable(): string {
  const rows = mutantRows<HarmlessName>(harmless);
  return section(
    "Differences that must not be caught",
    ["mutant", "rule", "what it does, why it is harmless", "tried by"],
    rows,
  );
}

function mutantRows<Name extends FaultName | HarmlessName>(table: Readonly<Record<Name, Mutant>>): string[][] {
  return (Object.keys(table) as Name[]).map((name) => {
    const { rule, breaks, search } = table[name];
    return [name, String(rule), breaks, searchText(search)];
  });
}

function fenceTable(): string {
  const rows = (Object.keys(fences) as FenceName[]).map((name) => {
    const { harmless: reason, search } = fences[name];
    return [name, reason === undefined ? "needed" : `not needed: ${reason}`, searchText(search)];
  });
  return section("Fences, removed alone", ["fence", "verdict", "found by"], rows);
}

function searchText(search: Search): string {
  if (search.by === "threads") return `threads, ${search.crash}: ${search.scenarios.join(", ")}`;
  return search.limbo ? `${search.by}, with limbo` : search.by;
}

function section(title: string, header: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [`### ${title}`, "", line(header), line(header.map(() => "---")), ...rows.map(line)].join("\n");
}
