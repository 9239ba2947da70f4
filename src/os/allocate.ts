import { errnoOf, system, uninterrupted } from "./system.ts";

/** Less than this is not halved: tmpfs takes it in about a millisecond. */
const MIN_HALF_BYTES = 4 * 2 ** 20;

/**
 * Allocates every block of a range and keeps what it holds.
 *
 * Until Linux 6.9 any signal ended a fallocate(2) of tmpfs, and all that it had taken was given back. So a call that
 * was interrupted is made again in two halves: beside a profiler's signal every millisecond a large one never ends.
 *
 * @throws SystemCallError ENOSPC; a half that went well before stays allocated
 */
export function allocate(fd: number, offset: number, lengthBytes: number): void {
  inHalves((at, length) => system.fallocate(fd, at, length), offset, lengthBytes);
}

/** Gives the blocks of a range back; it reads as zeroes then. @throws SystemCallError */
export function punch(fd: number, offset: number, lengthBytes: number): void {
  inHalves((at, length) => system.punch(fd, at, length), offset, lengthBytes);
}

function inHalves(call: (offset: number, lengthBytes: number) => void, offset: number, lengthBytes: number): void {
  if (lengthBytes <= MIN_HALF_BYTES) {
    uninterrupted(() => call(offset, lengthBytes));
    return;
  }
  try {
    call(offset, lengthBytes);
  } catch (error) {
    if (errnoOf(error) !== "EINTR") throw error;
    const half = Math.ceil(lengthBytes / 2 / MIN_HALF_BYTES) * MIN_HALF_BYTES;
    inHalves(call, offset, half);
    inHalves(call, offset + half, lengthBytes - half);
  }
}
