// Hazard: a rule of the house that nobody enforces wears off, first in one file and then everywhere.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import {
  beginsWithSentence,
  type Finding,
  findCode,
  findLong,
  findLongFunctions,
  findText,
  findUndocumented,
  importsOf,
} from "./support/tidy-rules.ts";

/** Which folder of src/ may import which. "." is src/index.ts, the library's front door. */
const allowedImports: Record<string, readonly string[]> = {
  base: [],
  os: ["base"],
  memory: ["base", "os"],
  testing: ["base", "memory"],
  format: ["base", "memory"],
  region: ["base", "memory", "format"],
  device: ["base"],
  disk: ["base", "memory", "region", "device"],
  nbd: ["base", "os", "device"],
  service: ["base", "nbd", "."],
  cli: ["base", "os", "memory", "testing", "format", "region", "device", "disk", "nbd", "service", "."],
  ".": ["base", "os", "memory", "format", "region", "device", "disk"],
};

/** The file through which a folder is entered, where that is not its index.ts. */
const frontDoors: Record<string, string> = { cli: "main.ts" };

/** Which folder may import which package; Node's own modules are open to all. */
const allowedPackages: Record<string, readonly string[]> = {
  os: ["koffi"],
  cli: ["@stricli/core", "cli-table3", "cli-progress"],
};

const limits = { columns: 120, lines: 400, functionLines: 70 };

/** Stores that may tear or land in any order, so they must not reach live metadata. */
const rawStore = /\.set(?:Big)?(?:Ui|I)nt\d+\(|\.write(?:Big)?U?Int\d+[LB]E\(|\.write\(new DataView\(/;
/** Where they are needed, and why they are harmless there. */
const rawStoreAllowed: Record<string, string> = {
  "src/base/layout.ts": "makes the bytes of a structure before they reach the memory",
  "src/region/geometry.ts": "completes an encoded geometry with its checksum, before it reaches the memory",
  "src/os/": "fills the arguments of system calls",
  "src/nbd/": "makes messages for a socket",
  "src/testing/": "damages images on purpose",
};

/** The pieces keep this table from finding itself. */
const forbiddenText: Record<string, RegExp> = {
  "a path of somebody's machine": /(?<![\w.$})-])\/(?:work|home|root|Users)\/\w/,
  "a promise to do it later": new RegExp(`\\b(?:${["TO", "FIX"].map((a, k) => a + ["DO", "ME"][k]).join("|")})\\b`),
};

const root = fileURLToPath(new URL("../..", import.meta.url));
const files = projectFiles();
const code = files.filter((path) => /^(?:src|test|scripts|bench|model|examples)\/.*\.(?:ts|mjs|js)$/.test(path));
const sources = code.filter((path) => path.startsWith("src/"));

describe("the house rules hold in every file", () => {
  test("imports between the folders of src/ follow the table", () => {
    check(sources, (source, path) => findForbiddenImports(path, source));
  });

  test("files, functions and lines stay within their limits", () => {
    check(code, (source) => [...findLong(source, limits), ...findLongFunctions(source, limits.functionLines)]);
  });

  test("every folder of src/ has a front door that says what lives there", () => {
    const folders = readdirSync(join(root, "src"), { withFileTypes: true }).filter((entry) => entry.isDirectory());
    for (const { name } of folders) {
      const path = `src/${name}/${frontDoors[name] ?? "index.ts"}`;
      assert.ok(existsSync(join(root, path)), `${path} is missing`);
      assert.ok(beginsWithSentence(read(path)), `${path} does not begin with a sentence that says what lives there`);
    }
  });

  test("every exported function and class of src/ has a doc comment", () => {
    check(sources, findUndocumented);
  });

  test("stores that may tear stand only where they cannot reach live metadata", () => {
    const allowed = Object.keys(rawStoreAllowed);
    const others = sources.filter((path) => !allowed.some((prefix) => path.startsWith(prefix)));
    check(others, (source) => findCode(source, rawStore));
  });

  test("no file names a path of somebody's machine or promises to do something later", () => {
    const texts = files.filter((path) => path !== "package-lock.json");
    for (const [what, pattern] of Object.entries(forbiddenText)) {
      check(texts, (source) => findText(source, pattern).map((finding) => `${finding} is ${what}`));
    }
  });

  test("the repository holds no binaries and nothing that is installed or built", () => {
    const built = files.filter((path) => /(?:^|\/)(?:node_modules|dist)\//.test(path));
    assert.deepEqual(built, []);
    check(files, (source) => (source.includes("\0") ? ["a binary file"] : []));
  });
});

describe("each rule finds what breaks it", () => {
  test("imports: upwards, of a package, of types, across several lines, when called", () => {
    assert.deepEqual(findForbiddenImports("src/base/a.ts", 'import { x } from "../os/index.ts";'), ["imports os"]);
    assert.deepEqual(findForbiddenImports("src/disk/a.ts", 'import koffi from "koffi";'), ["imports koffi"]);
    assert.deepEqual(findForbiddenImports("src/nbd/a.ts", 'import type { R } from "../region/r.ts";'), [
      "imports region",
    ]);
    assert.deepEqual(findForbiddenImports("src/device/a.ts", 'export {\n  a,\n} from "../os/a.ts";'), ["imports os"]);
    assert.deepEqual(findForbiddenImports("src/index.ts", 'await import("./cli/main.ts");'), ["imports cli"]);
    assert.deepEqual(findForbiddenImports("src/attic/a.ts", ""), ["attic is not in the table of allowed imports"]);
    assert.deepEqual(findForbiddenImports("src/os/a.ts", 'import "node:fs";\nimport k from "koffi";\n'), []);
    assert.deepEqual(findForbiddenImports("src/cli/commands/a.ts", 'import { R } from "../../index.ts";'), []);
    assert.deepEqual(findForbiddenImports("src/base/a.ts", '/** import { x } from "../os/index.ts"; */\n'), []);
  });

  test("limits: a long line, a long file, a long function of every form", () => {
    assert.deepEqual(findLong("ab\nabc\n", { columns: 2, lines: 2 }), ["2: 3 columns"]);
    assert.equal(findLong("a\nb\nc\n", { columns: 2, lines: 2 }).length, 1);
    const heads = ["function a(): void {", "  #a(b: number): void {", "const a = (b) => {", "  get a(): number {"];
    for (const head of [...heads, "  ): Promise<void> {", '  test("a", async () => {', "  constructor(a: A) {"]) {
      const end = `${" ".repeat(head.search(/\S/))}}`;
      assert.deepEqual(findLongFunctions(`${head}\n\n\n${end}\n`, 3), ["1: a function of 4 lines"], head);
      assert.deepEqual(findLongFunctions(`${head}\n\n\n${end}\n`, 4), [], head);
    }
    assert.deepEqual(findLongFunctions('describe("a", () => {\n\n\n});\n', 3), []);
  });

  test("documentation: an exported function without a comment, an index without a sentence", () => {
    const finding = ["1: a is exported without a doc comment"];
    assert.deepEqual(findUndocumented("export function a(): void {}"), finding);
    assert.deepEqual(findUndocumented("export abstract class a {}"), finding);
    assert.deepEqual(findUndocumented("/** Says why. */\nexport async function a(): Promise<void> {}"), []);
    assert.ok(beginsWithSentence('/** What lives here. */\nexport * from "./a.ts";'));
    assert.ok(beginsWithSentence("// What lives\n// here.\n"));
    assert.ok(!beginsWithSentence('export * from "./a.ts"; // What lives here.'));
    assert.ok(!beginsWithSentence("/** */\n// What lives here."));
  });

  test("text: raw stores, paths, promises", () => {
    assert.deepEqual(findCode("view.setUint32(0, 1);", rawStore), ["1: .setUint32("]);
    assert.deepEqual(findCode("buffer.writeBigUInt64LE(1n);", rawStore), ["1: .writeBigUInt64LE("]);
    assert.deepEqual(findCode("f.write(new DataView(b), 1);", rawStore), ["1: .write(new DataView("]);
    assert.deepEqual(findCode("map.set(a, b);\nf.read(new DataView(b));\n// v.setUint8(\n", rawStore), []);
    const [path, later] = Object.values(forbiddenText);
    for (const folder of ["work", "home", "root"]) assert.match(`"/${folder}/x"`, path);
    assert.doesNotMatch("./node_modules/work/x", path);
    assert.match("// todo: more".toUpperCase(), later);
  });
});

function findForbiddenImports(path: string, source: string): Finding[] {
  const folder = folderOf(path);
  const allowed = allowedImports[folder];
  if (allowed === undefined) return [`${folder} is not in the table of allowed imports`];
  return importsOf(source).flatMap((name) => {
    if (name.startsWith("node:")) return [];
    if (!name.startsWith(".")) return allowedPackages[folder]?.includes(name) ? [] : [`imports ${name}`];
    const target = folderOf(join(dirname(path), name));
    return target === folder || allowed.includes(target) ? [] : [`imports ${target}`];
  });
}

/** The folder below src/ that a path lies in; "." for the files of src/ itself. */
function folderOf(path: string): string {
  const [first, ...rest] = relative("src", path).split("/");
  return rest.length === 0 ? "." : first;
}

/** Applies a rule to each file, and fails with all that it finds. */
function check(paths: readonly string[], rule: (source: string, path: string) => Finding[]): void {
  const findings = paths.flatMap((path) => rule(read(path), path).map((finding) => `${path}: ${finding}`));
  assert.deepEqual(findings, []);
}

function read(path: string): string {
  return readFileSync(join(root, path), "utf8");
}

/** What git has or would add, apart from files deleted in the work tree; in a copy without git, every file. */
function projectFiles(): string[] {
  if (!existsSync(join(root, ".git"))) {
    const everything = readdirSync(root, { recursive: true, withFileTypes: true });
    const paths = everything.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
    return paths.map((path) => relative(root, path)).filter((path) => !/^(?:node_modules|dist|\.cache)\//.test(path));
  }
  // The clone may belong to another user, as when a container runs as root.
  const options = ["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"];
  const paths = execFileSync("git", options, { cwd: root, encoding: "utf8", maxBuffer: 2 ** 26 }).split("\0");
  return [...new Set(paths)].filter((path) => path !== "" && existsSync(join(root, path)));
}
