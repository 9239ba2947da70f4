import { lstatSync } from "node:fs";
import { type IncomingMessage, request } from "node:http";
import { text } from "node:stream/consumers";
import { PerdureError } from "../base/index.ts";
import { controlAddress } from "./control-address.ts";
import type { Changes } from "./operations.ts";
import { answerTimeoutMs, memoryHeader, pathPrefix, statusOtherMemory } from "./protocol.ts";
import { toldError } from "./told-error.ts";

/** Errors by which nobody is there who could be asked. */
const absence: readonly string[] = ["ECONNREFUSED", "ENOENT", "EACCES", "ENOTSOCK"];

/**
 * Asks the server that has a memory open for a change.
 *
 * @returns what came out; undefined when no server that can be asked has it open
 * @throws what the change throws there; EBUSY when the server does not answer, EIO when it ends before it has
 */
export async function askOwner<Name extends keyof Changes>(
  source: string,
  env: NodeJS.ProcessEnv,
  name: Name,
  input: Changes[Name][0],
): Promise<{ readonly output: Changes[Name][1] } | undefined> {
  const { key = "", paths = [] } = controlAddress(source, env) ?? {};
  for (const path of paths.filter(isTrusted)) {
    const answer = await ask(path, key, name, JSON.stringify(input));
    if (answer === undefined || answer.status === statusOtherMemory) continue;
    if (answer.status !== 200) throw toldError(answer.body);
    return { output: answer.body as Changes[Name][1] };
  }
  return undefined;
}

/** In a folder that all may write to, a socket may be anybody's: what he answers would be taken for done. */
function isTrusted(path: string): boolean {
  try {
    const found = lstatSync(path);
    return found.isSocket() && (found.uid === process.geteuid?.() || found.uid === 0);
  } catch {
    // Where this user may not even look, nobody waits for him.
    return false;
  }
}

interface Answer {
  readonly status: number;
  readonly body: unknown;
}

async function ask(path: string, key: string, name: string, input: string): Promise<Answer | undefined> {
  try {
    const response = await send(path, key, name, input);
    return { status: response.statusCode ?? 0, body: JSON.parse(await text(response)) };
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code !== undefined && absence.includes(code)) return undefined;
    if (cause instanceof PerdureError) throw cause;
    throw new PerdureError("EIO", `the server at ${path} ended before it answered`, {
      remedy: "look with `perdure ls` whether it was done, and try again if not",
      cause,
    });
  }
}

function send(path: string, key: string, name: string, input: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(input) };
    const sent = request(
      {
        socketPath: path,
        path: pathPrefix + name,
        method: "POST",
        headers: { ...headers, [memoryHeader]: key },
        agent: false,
        timeout: answerTimeoutMs,
      },
      resolve,
    );
    sent.on("error", reject);
    sent.on("timeout", () => {
      sent.destroy(
        new PerdureError("EBUSY", `the server at ${path} does not answer`, {
          remedy: "look what keeps that process, or stop it, then try again",
        }),
      );
    });
    sent.end(input);
  });
}
