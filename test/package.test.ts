// Hazard: what users install differs from what was tested: a file left out, a dependency that moves or runs code at
// installation, an import that loads half of node_modules.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";

interface Manifest {
  readonly dependencies: Record<string, string>;
  readonly devDependencies: Record<string, string>;
  readonly exports: Record<string, string>;
}

interface Lock {
  readonly packages: Record<string, { readonly hasInstallScript?: boolean }>;
}

interface PackedFile {
  readonly path: string;
  readonly mode: number;
}

/** Packages that carry an install script and work without it: .npmrc turns all of them off. */
const installScriptNotNeeded: Record<string, string> = {
  koffi: "its script compiles where no prebuilt binary exists; Linux has them, as packages of their own",
};

const root = fileURLToPath(new URL("../..", import.meta.url));
const manifest = readJson("package.json") as Manifest;
const direct = { ...manifest.dependencies, ...manifest.devDependencies };

test("the package holds the command, the library and its documentation, and nothing else", () => {
  const output = execFileSync("npm", ["pack", "--dry-run", "--json"], { cwd: root, encoding: "utf8", stdio: "pipe" });
  const [{ files }] = JSON.parse(output) as [{ files: PackedFile[] }];
  const paths = files.map(({ path }) => path);
  const alsoAllowed = ["package.json", "README.md", "LICENSE", "CHANGELOG.md"];
  const strangers = paths.filter((path) => !/^(?:bin|dist\/src|docs)\//.test(path) && !alsoAllowed.includes(path));
  assert.deepEqual(strangers, []);
  const expected = Object.values(manifest.exports).map((path) => path.replace("./", ""));
  for (const path of [...expected, "dist/src/cli/main.js", "docs/dependencies.md", "LICENSE"]) {
    assert.ok(paths.includes(path), `${path} is packed`);
  }
  assert.equal(files.find(({ path }) => path === "bin/perdure")?.mode, 0o755, "the command is executable");
});

test("every dependency is pinned to one version", () => {
  const loose = Object.entries(direct).filter(([, version]) => !/^\d+\.\d+\.\d+$/.test(version));
  assert.deepEqual(loose, []);
});

test("every dependency has its line in docs/dependencies.md, and every line its dependency", () => {
  const rows = readFileSync(join(root, "docs/dependencies.md"), "utf8").matchAll(/^\| `([^`]+)` \|/gm);
  assert.deepEqual([...rows].map((row) => row[1]).toSorted(), Object.keys(direct).toSorted());
});

test("no dependency needs an install script", () => {
  const { packages } = readJson("package-lock.json") as Lock;
  const withScript = Object.keys(packages).filter((path) => packages[path].hasInstallScript === true);
  const names = withScript.map((path) => path.replace(/^.*node_modules\//, ""));
  assert.deepEqual(names, Object.keys(installScriptNotNeeded));
});

test("importing the library loads koffi and no other package", () => {
  const names = packagesLoadedBy(join(root, "dist/src/index.js"));
  // koffi's binary for each platform is a package of its own.
  const others = names.filter((name) => !name.startsWith("@koromix/koffi-"));
  assert.deepEqual(others, ["koffi"]);
});

test("the list of loaded packages sees modules of both kinds", () => {
  assert.ok(packagesLoadedBy(join(root, "node_modules/cli-table3/index.js")).includes("string-width"));
  assert.ok(packagesLoadedBy(join(root, "node_modules/fast-check/lib/fast-check.js")).includes("pure-rand"));
});

/** Imports a module in a process of its own, where the debugger tells of every script that is compiled. */
function packagesLoadedBy(path: string): string[] {
  const program = `
    import { Session } from "node:inspector";
    const session = new Session();
    const urls = [];
    session.connect();
    session.on("Debugger.scriptParsed", ({ params }) => urls.push(params.url));
    session.post("Debugger.enable");
    await import(${JSON.stringify(pathToFileURL(path).href)});
    console.log(JSON.stringify(urls));
    process.exit();
  `;
  const output = execFileSync(process.execPath, ["--input-type=module", "--eval", program], { encoding: "utf8" });
  const urls = JSON.parse(output) as string[];
  const names = urls.flatMap((url) => /^.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(url)?.[1] ?? []);
  return [...new Set(names)].toSorted();
}

function readJson(path: string): unknown {
  return JSON.parse(readFileSync(join(root, path), "utf8"));
}
