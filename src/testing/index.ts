/** For authors of formats: recording and failing memory, and the images that a kill or a power cut may leave. */
export { type FailingCall, FailingMemory } from "./failing-memory.ts";
export { ImageKey } from "./image-key.ts";
export { type CrashImage, killImages } from "./kill.ts";
export { PowerModel } from "./power.ts";
export { below, pick, type Random, seeded } from "./random.ts";
export { type MemoryEvent, Recording, RecordingMemory } from "./recording-memory.ts";
