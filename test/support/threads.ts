// Threads of tests: workers that answer with a message, and end with the test.

import { once } from "node:events";
import type { TestContext } from "node:test";
import { Worker } from "node:worker_threads";
import type { ThreadAct } from "./thread-acts.ts";

/** Starts a worker on a program beside this file; it is terminated when the test is over. */
export function startThread(t: TestContext, program: string, task: unknown): Worker {
  const worker = new Worker(new URL(program, import.meta.url), { workerData: task });
  t.after(async () => void (await worker.terminate()));
  return worker;
}

/** What a worker says next. */
export async function nextMessage<T>(worker: Worker): Promise<T> {
  const [message] = (await once(worker, "message")) as [T];
  return message;
}

/** Lets a thread of its own perform an act, and end. @returns its answer */
export async function inThread<T>(t: TestContext, act: ThreadAct): Promise<T> {
  const worker = startThread(t, "./thread-acts.js", act);
  const ended = once(worker, "exit");
  const answer = await nextMessage<T>(worker);
  await ended;
  return answer;
}
