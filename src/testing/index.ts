/** For authors of formats: recording and failing memory, and the crash engine that tries what a crash may leave. */
export type { Memory } from "../memory/index.ts";
export { CrashImage, type CrashModel } from "./crash-image.ts";
export { CrashJudge, type CrashSubject, type Found, type Tally, type Thoroughness, Violation } from "./crash-judge.ts";
export { type CrashTest, exploreCrashes } from "./explore-crashes.ts";
export { type FailingCall, FailingMemory } from "./failing-memory.ts";
export { KillModel, killImages } from "./kill.ts";
export { PowerModel } from "./power.ts";
export { below, pick, type Random, seeded } from "./random.ts";
export { type MemoryEvent, Recording, RecordingMemory } from "./recording-memory.ts";
export {
  parseSchedule,
  type Schedule,
  type Step,
  schedulesWithin,
  scheduleText,
  type ThreadName,
} from "./schedule.ts";
export { type SteppedProgram, type Steps, serveSteps, type ThreadResult } from "./stepped-thread.ts";
export { type SteppedRun, type SteppedSubject, SteppedThreads } from "./stepped-threads.ts";
