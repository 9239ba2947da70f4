import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { ERRORS, type ErrorCode, isPerdureError, PerdureError } from "../base/index.ts";
import { type Format, listFormats, registerFormat } from "../format/index.ts";

/** Plug-ins of this process: one that is named twice is one. */
const loaded = new Set<string>();

/**
 * Loads the formats that plug-ins bring. A plug-in is an ES module whose default export, or export `format`, is a
 * Format.
 *
 * @throws ENOENT (no such file), PLUGIN (no module, no format, it threw), EINVAL (its type), EEXIST (type, name taken)
 */
export async function loadPlugins(files: readonly string[]): Promise<void> {
  for (const file of files) {
    const path = resolve(file);
    if (loaded.has(path)) continue;
    const format = formatOf(file, await importPlugin(file, path));
    refuseTaken(file, format);
    registerFormat(named(file, format));
    loaded.add(path);
  }
}

async function importPlugin(file: string, path: string): Promise<object> {
  if (!existsSync(path)) {
    throw new PerdureError("ENOENT", `there is no plug-in ${file}`, { remedy: "check the path after --plugin" });
  }
  try {
    return (await import(pathToFileURL(path).href)) as object;
  } catch (error) {
    throw failureOf(file, "could not be loaded", error, remedyOf(error));
  }
}

/** What to do about the commonest reasons why Node cannot import a file. */
function remedyOf(error: unknown): string | undefined {
  const { code } = error as { code?: string };
  if (error instanceof SyntaxError) {
    return "a plug-in is an ES module in JavaScript: name it .mjs, or .js in a package of type module";
  }
  if (code === "ERR_UNKNOWN_FILE_EXTENSION") return "this Node cannot run such a file: compile it to JavaScript first";
  if (code === "ERR_MODULE_NOT_FOUND")
    return "install what the plug-in imports in its own folder (npm install perdure)";
  return undefined;
}

function formatOf(file: string, module: object): Format {
  const { default: first, format: second } = module as { default?: unknown; format?: unknown };
  const found = [first, second].find(isFormat);
  if (found !== undefined) return found;
  throw new PerdureError("PLUGIN", `the plug-in ${file} exports no format`, {
    remedy:
      "its default export, or its export `format`, must be an object with type (a number), name (a text), and the " +
      "functions format, probe and cleanup; docs/formats.md has an example",
  });
}

function isFormat(value: unknown): value is Format {
  if (typeof value !== "object" || value === null) return false;
  const { type, name, format, probe, cleanup, validate, describe } = value as Record<keyof Format, unknown>;
  return (
    typeof type === "number" &&
    typeof name === "string" &&
    name !== "" &&
    [format, probe, cleanup].every((method) => typeof method === "function") &&
    [validate, describe].every((method) => method === undefined || typeof method === "function")
  );
}

function refuseTaken(file: string, { type, name }: Format): void {
  const taken = listFormats().find((known) => known.type === type || known.name === name);
  if (taken === undefined) return;
  throw new PerdureError(
    "EEXIST",
    `the plug-in ${file} brings the format ${type} (${name}), but there is ${taken.type} (${taken.name}) already`,
    { remedy: "leave one of the two plug-ins out; a plug-in only exports its format, the command registers it" },
  );
}

/** The same format, whose failures bear the name of the plug-in: they are no defects of Perdure. */
function named(file: string, format: Format): Format {
  const run = <T>(method: string, act: () => T): T => {
    try {
      return act();
    } catch (error) {
      throw failureOf(file, `failed in ${method}()`, error);
    }
  };
  return {
    type: format.type,
    name: format.name,
    validate: (memory) => run("validate", () => format.validate?.(memory)),
    format: (memory) => run("format", () => format.format(memory)),
    probe: (memory) => run("probe", () => format.probe(memory)),
    cleanup: (handle) => run("cleanup", () => format.cleanup(handle)),
    describe: (handle) => run("describe", () => format.describe?.(handle) ?? {}),
  };
}

function failureOf(file: string, what: string, error: unknown, remedy?: string): PerdureError {
  if (isPerdureError(error)) return error;
  if (isOfAnotherCopy(error))
    return new PerdureError(error.code, error.message, { remedy: error.remedy, cause: error });
  const why = error instanceof Error ? error.message : String(error);
  const options = remedy === undefined ? { cause: error } : { cause: error, remedy };
  return new PerdureError("PLUGIN", `the plug-in ${file} ${what}: ${why.split("\n")[0]}`, options);
}

/** A plug-in may have a copy of Perdure of its own, and with it another class of errors. */
function isOfAnotherCopy(error: unknown): error is { code: ErrorCode; message: string; remedy: string } {
  const { name, code, remedy } = (error ?? {}) as { name?: unknown; code?: unknown; remedy?: unknown };
  return name === "PerdureError" && typeof code === "string" && code in ERRORS && typeof remedy === "string";
}
