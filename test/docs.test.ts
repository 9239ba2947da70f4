// Hazard: documents that say what was true once: tables of a layout that has changed, examples that do not run, links
// that lead nowhere.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { memoryFolder, RunningCli } from "./support/cli.ts";
import { importsOf } from "./support/tidy-rules.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const inDocs = readdirSync(join(root, "docs")).map((name) => `docs/${name}`);
const documents = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", ...inDocs.filter((path) => path.endsWith(".md"))];
/** What an example takes for granted. */
const setups: Record<string, string> = {
  "docs/nbd.md": `import { Region } from "perdure";
    const region = await Region.open("/dev/shm/nbd.region", { create: true, size: "1M" });
    const disk = region.disks.open("scratch", { create: true, size: "64K" });`,
};

describe("the generated parts", () => {
  test("are what the code says now", () => {
    const { status, stderr } = runGenerator();
    assert.equal(status, 0, stderr);
  });

  test("are found stale when one number differs, and renewed", (t) => {
    const folder = memoryFolder(t);
    cpSync(join(root, "docs"), join(folder, "docs"), { recursive: true });
    cpSync(join(root, "README.md"), join(folder, "README.md"));
    const path = join(folder, "docs/format.md");
    const good = readFileSync(path, "utf8");
    const bad = good.replace("| 28 | 4 | u32 | `pageBytes`", "| 32 | 4 | u32 | `pageBytes`");
    assert.notEqual(bad, good);
    writeFileSync(path, bad);
    const { status, stderr } = runGenerator("--folder", folder);
    assert.equal(status, 1);
    assert.match(stderr, /^docs\/format\.md: the part "geometry" is stale\n/);
    assert.equal(runGenerator("--folder", folder, "--write").status, 0);
    assert.equal(readFileSync(path, "utf8"), good);
  });
});

describe("the format document", () => {
  test("checks its own example entries with its own columns", () => {
    const text = read("docs/format.md");
    const columns = numbersOf(partOf(text, "columns"));
    const pageColumns = numbersOf(partOf(text, "page columns"));
    assert.equal(new Set(columns).size, 64);
    const rows = [...partOf(text, "entries").matchAll(/^\| [^|]+ \| (\d+) \| (\d+) .* (0x\w+) \| `(.*)` \|$/gm)];
    assert.ok(rows.length > 5);
    for (const [row, page, index, claim, bytes] of rows) {
      const entry = Buffer.from(bytes.replaceAll(" ", ""), "hex");
      assert.deepEqual([entry.readUInt32LE(0), entry.readUInt32LE(4)], [Number(index), Number(claim)], row);
      const all = [...used(columns, Number(index), 0), ...used(columns, Number(claim), 32)];
      const sum = [...all, ...used(pageColumns, Number(page), 0)].reduce((so, column) => so ^ column, 0);
      assert.equal(sum, 0, row);
    }
  });

  test("has a reference reader that shares nothing with the code", () => {
    const imports = importsOf(read("test/crash/checker.ts"));
    assert.deepEqual(imports, ["node:zlib"]);
  });
});

describe("links", () => {
  test("lead to files and headings that are there", () => {
    const broken = documents.flatMap((path) => linksOf(path).filter((link) => !isThere(link)));
    assert.deepEqual(broken, []);
  });

  test("reach every file of docs/ from README.md or docs/architecture.md", () => {
    const reached = new Set(["README.md", "docs/architecture.md"].flatMap(linksOf).map(({ file }) => file));
    assert.deepEqual(
      inDocs.filter((path) => !reached.has(path)),
      [],
    );
  });

  test("that are broken are found", () => {
    assert.ok(!isThere({ from: "a", file: "docs/none.md", heading: undefined }));
    assert.ok(!isThere({ from: "a", file: "docs/format.md", heading: "no-such-heading" }));
    assert.ok(isThere({ from: "a", file: "docs/format.md", heading: "dual-records" }));
  });
});

describe("examples", () => {
  test("compile, run, and print what their comments say", (t) => {
    const folder = memoryFolder(t);
    const examples = documents.flatMap((path) => examplesOf(path, folder));
    assert.ok(examples.length >= 2);
    const compiled = compile(
      t,
      examples.map(({ source }) => source),
    );
    examples.forEach(({ path, expected }, k) => {
      const output = execFileSync(process.execPath, [join(compiled, `example-${k}.js`)], { encoding: "utf8" });
      assert.deepEqual(output.split("\n").slice(0, -1), expected, path);
    });
  });

  test("of shell lines in README.md are those that `perdure start` prints", async (t) => {
    const server = await RunningCli.serve(t, ["start", "--dir", memoryFolder(t)]);
    await server.says("stderr", /Stop with Ctrl-C/);
    const lines = read("README.md").match(/^(?:mkdir|perdure) .*"\$DIR\/mnt".*$/gm) ?? [];
    assert.equal(lines.length, 2);
    for (const line of [...lines, 'perdure umount "$DIR/mnt"']) assert.ok(server.stderr.includes(`  ${line}\n`), line);
  });
});

interface Link {
  readonly from: string;
  /** From the root of the repository. */
  readonly file: string;
  readonly heading: string | undefined;
}

interface Example {
  readonly path: string;
  readonly source: string;
  /** What `console.log(...); // text` promises. */
  readonly expected: readonly string[];
}

function runGenerator(...args: string[]): { status: number | null; stderr: string } {
  return spawnSync(process.execPath, ["scripts/docs.mjs", ...args], { cwd: root, encoding: "utf8" });
}

/** Links within the repository. */
function linksOf(path: string): Link[] {
  const text = read(path).replaceAll(/```.*?```|`[^`\n]*`/gs, "");
  return [...text.matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, target]) => target)
    .filter((target) => !/^\w+:/.test(target))
    .map((target) => {
      const [file, heading] = target.split("#");
      return { from: path, file: file === "" ? path : normalize(join(dirname(path), file)), heading };
    });
}

function isThere({ file, heading }: Link): boolean {
  if (relative(root, join(root, file)).startsWith("..") || !existsSync(join(root, file))) return false;
  if (heading === undefined) return true;
  return [...read(file).matchAll(/^#+ (.*)$/gm)].some(([, title]) => slugOf(title) === heading);
}

/** The anchor that a heading gets where repositories are shown. */
function slugOf(title: string): string {
  return title
    .toLowerCase()
    .replaceAll(/[^\w\- ]/g, "")
    .replaceAll(" ", "-");
}

/** The examples of a document, with paths that lead into a folder of the test. */
function examplesOf(path: string, folder: string): Example[] {
  return [...read(path).matchAll(/```ts\n(.*?)```/gs)].map(([, block]) => {
    const source = `${setups[path] ?? ""}\n${block}`.replaceAll(/\/dev\/shm|\/run\/user\/1000/g, folder);
    const expected = [...source.matchAll(/^\s*console\.log\(.*\); \/\/ (.*)$/gm)].map((match) => match[1]);
    return { path, source, expected };
  });
}

/** Compiles examples inside of the package, where they import it by its name. Returns the folder of what came out. */
function compile(t: TestContext, sources: readonly string[]): string {
  const folder = join(root, ".cache", `examples-${process.pid}`);
  mkdirSync(folder, { recursive: true });
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const names = sources.map((source, k) => {
    writeFileSync(join(folder, `example-${k}.ts`), source);
    return `example-${k}.ts`;
  });
  const compiler = realpathSync(join(root, "node_modules/.bin/tsc"));
  const target = ["--target", "es2022", "--lib", "es2023,esnext.disposable", "--module", "nodenext", "--types", "node"];
  const { status, stdout } = spawnSync(
    process.execPath,
    [compiler, ...target, "--strict", "--skipLibCheck", "--ignoreConfig", ...names],
    {
      cwd: folder,
      encoding: "utf8",
    },
  );
  assert.equal(status, 0, stdout);
  return folder;
}

/** A generated part of a document. */
function partOf(text: string, name: string): string {
  const start = text.indexOf(`<!-- generated: ${name} -->`);
  assert.ok(start >= 0, name);
  return text.slice(start, text.indexOf("<!-- end of generated -->", start));
}

function numbersOf(part: string): number[] {
  return [...part.matchAll(/0x\w+/g)].map(([number]) => Number(number));
}

/** The columns of the bits that are set in a word. */
function used(columns: readonly number[], word: number, from: number): number[] {
  return columns.slice(from, from + 32).filter((_column, bit) => Math.floor(word / 2 ** bit) % 2 === 1);
}

function read(path: string): string {
  return readFileSync(join(root, path), "utf8");
}
