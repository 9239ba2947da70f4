// Keeps the generated parts of the documents in step with the code: `node scripts/docs.mjs` names those that are stale,
// `node scripts/docs.mjs --write` renews them. `--folder DIR` works on the documents of another folder. Needs a build.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { root } from "./run.mjs";

const documents = ["README.md", "docs/architecture.md", "docs/cli.md", "docs/errors.md", "docs/format.md"];

const load = (path) => import(new URL(`../dist/src/${path}.js`, import.meta.url).href);
const { ERRORS } = await load("base/errors");
const { superblockHead } = await load("format/superblock");
const { epochsLayout, geometryLayout, lifeLayout, recordLayout, stateLayout } = await load("region/layout");
const { columns, kind, makeClaim, pageColumns } = await load("region/claim");
const { startReasons } = await load("region/lives");
const { exitCodeTexts } = await load("cli/exit-code");

/** What each generated part holds, by the name in its markers. */
const parts = {
  "superblock head": () => layoutTable(superblockHead),
  geometry: () => layoutTable(geometryLayout),
  "region state": () => layoutTable(stateLayout),
  life: () => layoutTable(lifeLayout),
  epochs: () => layoutTable(epochsLayout),
  "instance record": () => layoutTable(recordLayout),
  kinds: () =>
    table(
      ["kind", "name"],
      Object.entries(kind).map(([name, value]) => [value, name.toUpperCase()]),
    ),
  columns: () => columnTable(columns, 64),
  "page columns": () => columnTable(pageColumns, 32),
  "one check": () => oneCheck({ page: 300, index: 7, kind: kind.data, revision: 1, owner: 2 }),
  entries: entryTable,
  reasons: reasonTable,
  errors: errorTable,
  "exit codes": () => table(["code", "meaning"], Object.entries(exitCodeTexts)),
  imports: importTable,
  commands: () => firstBlock(read("docs/cli.md")),
};

const { values } = parseArgs({ options: { write: { type: "boolean" }, folder: { type: "string", default: root } } });
const stale = documents.flatMap((name) => renew(join(values.folder, name), name));
for (const what of stale) console.error(what);
if (stale.length > 0 && values.write !== true) {
  console.error("renew them with: node scripts/docs.mjs --write");
  process.exitCode = 1;
}

/** Fills the parts of one document. Returns what was stale. */
function renew(path, name) {
  const found = [];
  const before = readFileSync(path, "utf8");
  const marked = /(<!-- generated: (.*?) -->\n)(.*?)(<!-- end of generated -->)/gs;
  const after = before.replaceAll(marked, (_whole, start, part, old, end) => {
    if (parts[part] === undefined) throw new Error(`${name} wants a part "${part}", and nothing makes it`);
    const fresh = `\n${parts[part]()}\n\n`;
    if (fresh !== old) found.push(`${name}: the part "${part}" ${values.write === true ? "was renewed" : "is stale"}`);
    return start + fresh + end;
  });
  if (values.write === true && after !== before) writeFileSync(path, after);
  return found;
}

function table(head, rows) {
  const line = (cells) => `| ${cells.map((cell) => String(cell).replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

function layoutTable(layout) {
  const rows = Object.entries(layout.fields).map(([name, { offset, sizeBytes, type, meaning }]) => [
    offset,
    sizeBytes,
    type,
    `\`${name}\``,
    meaning,
  ]);
  return `${layout.sizeBytes} bytes.\n\n${table(["offset", "bytes", "type", "field", "meaning"], rows)}`;
}

/** Eight columns a line, in hexadecimal. */
function columnTable(list, count) {
  const rows = [];
  for (let from = 0; from < count; from += 8) {
    rows.push([`${from}-${from + 7}`, ...list.slice(from, from + 8).map((column) => hex(column, 2))]);
  }
  return table(["bit", "+0", "+1", "+2", "+3", "+4", "+5", "+6", "+7"], rows);
}

function oneCheck(entry) {
  const claimBits = (entry.kind * 2 ** 28 + entry.revision * 2 ** 26 + entry.owner) >>> 0;
  const sources = [
    [`index ${entry.index}`, bitsOf(entry.index), bitsOf(entry.index).map((bit) => columns[bit])],
    [`claim ${hex(claimBits, 8)}`, bitsOf(claimBits), bitsOf(claimBits).map((bit) => columns[32 + bit])],
    [`page ${entry.page}`, bitsOf(entry.page), bitsOf(entry.page).map((bit) => pageColumns[bit])],
  ];
  const rows = sources.map(([what, bits, used]) => [
    what,
    bits.join(", "),
    used.map((column) => hex(column, 2)).join(" ^ "),
  ]);
  const check = sources.flatMap(([, , used]) => used).reduce((sum, column) => sum ^ column, 0);
  const claim = claimOf(entry);
  if (claim !== (claimBits | (check << 19)) >>> 0) throw new Error("the worked example is not what the code computes");
  const sum = `${hex(claimBits, 8)} | ${hex(check, 2)} << 19 = ${hex(claim, 8)}`;
  const text = `All of them together: check = ${hex(check, 2)}, claim = ${sum}.`;
  return `${table(["word, check 0", "its set bits", "their columns"], rows)}\n\n${text}`;
}

function entryTable() {
  const entries = [
    { what: "a free page", page: 300, index: 0, kind: kind.free, revision: 0, owner: 0 },
    {
      what: "the same page, freed while index 7 stood there",
      page: 300,
      index: 7,
      kind: kind.free,
      revision: 0,
      owner: 0,
    },
    { what: "page 0 as metadata", page: 0, index: 0, kind: kind.meta, revision: 0, owner: 1 },
    { what: "first page of the directory", page: 321, index: 0, kind: kind.directory, revision: 0, owner: 1 },
    { what: "index 7 of owner 2", page: 300, index: 7, kind: kind.data, revision: 1, owner: 2 },
    { what: "what replaces it", page: 301, index: 7, kind: kind.data, revision: 2, owner: 2 },
    { what: "a tail of a run", page: 513, index: 9, kind: kind.run, revision: 0, owner: 5 },
  ];
  const rows = entries.map((entry) => {
    const bytes = Buffer.alloc(8);
    bytes.writeUInt32LE(entry.index, 0);
    bytes.writeUInt32LE(claimOf(entry), 4);
    const { what, page, index, revision, owner } = entry;
    return [
      what,
      page,
      index,
      revision,
      owner,
      hex(claimOf(entry), 8),
      `\`${bytes.toString("hex").replace(/..(?=.)/g, "$& ")}\``,
    ];
  });
  return table(["entry", "page", "index", "revision", "owner", "claim", "bytes"], rows);
}

function claimOf({ page, index, kind: number, revision, owner }) {
  return makeClaim(page, index, number, revision, owner);
}

function reasonTable() {
  const rows = Object.entries(startReasons).map(([name, reason]) => [
    reason.number,
    `\`${name}\``,
    reason.kind,
    reason.text,
  ]);
  return table(["reason", "name", "start", "meaning"], rows);
}

/** A section for each code; the tests that provoke it are found by their names. */
function errorTable() {
  const source = read("test/errors.test.ts") + read("test/errors-own.test.ts");
  const tests = [...source.matchAll(/^provoke\(\s*"(\w+)",\s*"([^"]+)"/gm)];
  const sections = Object.entries(ERRORS).map(([code, { text, remedy }]) => {
    const names = tests.filter((match) => match[1] === code).map((match) => `* ${match[2]}`);
    return [`## ${code}`, "", sentence(text), "", `**What to do:** ${remedy}.`, "", "Provoked by:", "", ...names].join(
      "\n",
    );
  });
  return sections.join("\n\n");
}

function sentence(text) {
  return `${text[0].toUpperCase()}${text.slice(1)}.`;
}

/** The table of allowed imports as test/tidy.test.ts enforces it. */
function importTable() {
  const source = /^const allowedImports[^{]*\{\n(.*?)^\};/ms.exec(read("test/tidy.test.ts"))?.[1] ?? "";
  const rows = [...source.matchAll(/^ {2}"?([\w.]+)"?: \[(.*)\],$/gm)].map(([, folder, allowed]) => [
    folder === "." ? "`index.ts`" : `\`${folder}/\``,
    allowed.replaceAll('"', "").replace(/(^|, )\.($|,)/, "$1index.ts$2") || "nothing",
  ]);
  if (rows.length < 5) throw new Error("test/tidy.test.ts has no table of allowed imports");
  return table(["folder", "may import"], rows);
}

function firstBlock(text) {
  return /```.*?```/s.exec(text)?.[0] ?? "";
}

function bitsOf(value) {
  return Array.from({ length: 32 }, (_, bit) => bit).filter((bit) => Math.floor(value / 2 ** bit) % 2 === 1);
}

function hex(value, digits) {
  return `0x${value.toString(16).padStart(digits, "0")}`;
}

function read(path) {
  return readFileSync(join(root, path), "utf8");
}
