// A server whose disks are changed while it serves them, and its control socket as any program may use it.

import assert from "node:assert/strict";
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import type { TestContext } from "node:test";
import { memoryFolder, perdure, RunningCli } from "./cli.ts";
import { NbdRawClient } from "./nbd-raw-client.ts";

/** A server of one region, in a folder that is gone when the test is over. */
export interface Controlled {
  readonly folder: string;
  readonly region: string;
  readonly server: RunningCli;
  /** Opens an export; the client is gone when the test is over. */
  open(name: string): Promise<NbdRawClient>;
  /** What clients can open. */
  exports(): Promise<string[]>;
}

/** Makes a region with the disk `pram0` of 2 MiB, and serves all its disks. */
export async function serveControlled(t: TestContext, ...flags: readonly string[]): Promise<Controlled> {
  const folder = memoryFolder(t);
  const region = join(folder, "r");
  await succeeds("format", region, "--size", "16M");
  await succeeds("disk", "create", region, "pram0", "--size", "2M");
  const server = await RunningCli.serve(t, ["serve", region, ...flags]);
  const open = async (name: string): Promise<NbdRawClient> => {
    const client = await NbdRawClient.open(`${region}.sock`, name);
    t.after(() => client.vanish());
    return client;
  };
  return { folder, region, server, open, exports: () => listExports(`${region}.sock`) };
}

/** Runs a command that must succeed. @returns what it said */
export async function succeeds(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await perdure(args);
  assert.equal(code, 0, `perdure ${args.join(" ")}: ${stderr}`);
  return stdout + stderr;
}

/** The names that a server lists, in order. */
export async function listExports(socket: string): Promise<string[]> {
  const client = await NbdRawClient.greet(socket);
  const replies = await client.ask(3);
  client.vanish();
  const names = replies
    .filter(({ type }) => type === 2)
    .map(({ data }) => data.subarray(4, 4 + data.readUInt32BE(0)).toString());
  return names.sort();
}

/** Asks for an operation as a program would that is not `perdure`. */
export async function post(
  socketPath: string,
  path: string,
  body: string | Buffer,
  headers: Record<string, string> = {},
): Promise<{ status: number; text: string }> {
  const sent = request({ socketPath, path, method: "POST", headers, agent: false });
  sent.end(body);
  const [response] = (await once(sent, "response")) as [IncomingMessage];
  return { status: response.statusCode ?? 0, text: await text(response) };
}

/** Sends bytes that may be anything, and hangs up when the server does, or after a while. */
export function sendBytes(socketPath: string, bytes: Buffer, patienceMs = 100): Promise<string> {
  return new Promise((resolve) => {
    let answer = "";
    const socket = connect(socketPath, () => socket.write(bytes));
    socket.on("data", (chunk) => {
      answer += chunk.toString("latin1");
    });
    socket.on("error", () => {});
    socket.on("close", () => resolve(answer));
    setTimeout(() => socket.destroy(), patienceMs).unref();
  });
}

/** Both ways to serve: by threads, which have joined the region, and by the event loop that changes it. */
export const ways: readonly { way: string; flags: readonly string[] }[] = [
  { way: "threads", flags: ["--threads", "2"] },
  { way: "the event loop", flags: ["--threads", "0"] },
];

/** Whether the server hangs up, with nothing left to say. */
export async function isDisconnected(client: NbdRawClient): Promise<boolean> {
  return (await client.rest()).length === 0;
}
