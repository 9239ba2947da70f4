import type { MediaEvent } from "./media.ts";
import type { Random } from "./random.ts";

const byteMasks: number[] = [0xff, 0xff00, 0xff0000, 0xff000000, 0xffff00, 0xff0000ff];

/**
 * The kill model: caches outlive the process, so a kill leaves every prefix of the stores. The last store may be a bulk
 * write cut off anywhere: a random part of its words, some of them byte by byte. `image` becomes the state after all
 * events.
 */
export function killImages(
  image: Uint32Array,
  events: readonly MediaEvent[],
  random: Random,
  visit: (image: Uint32Array, step: number) => void,
): void {
  for (const [step, event] of events.entries()) {
    if (event.kind !== "store") continue;
    if (event.bulk) {
      const torn = image.slice();
      for (const [k, value] of event.values.entries()) {
        if (random.chance(0.5)) torn[event.word + k] = value;
        else if (random.chance(0.3)) {
          const mask = random.pick(byteMasks);
          torn[event.word + k] = (torn[event.word + k] & ~mask) | (value & mask);
        }
      }
      visit(torn, step);
    }
    image.set(event.values, event.word);
    visit(image, step);
  }
}
