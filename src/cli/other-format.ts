import { attachMemory, type Facts, formatTypeOf, listFormats, openMemory, superblockHead } from "../format/index.ts";
import { formatType } from "../region/layout.ts";

/** What is told of a memory in a format that a plug-in brought. */
export interface OtherMemory {
  readonly source: string;
  readonly format: number;
  readonly name: string;
  readonly sizeBytes: number;
  readonly facts: Facts;
}

/**
 * Opens a memory for reading, asks its format to describe it, and cleans up.
 *
 * @returns undefined for a region, and for what holds no format that is registered: who opens regions says what that is
 * @throws what opening a backing and the format's probe throw
 */
export function readOther(source: string): OtherMemory | undefined {
  const memory = openMemory(source, { readOnly: true });
  try {
    const type = formatTypeOf(memory.read(0, superblockHead.sizeBytes));
    if (type === formatType || !listFormats().some((known) => known.type === type)) return undefined;
    const attached = attachMemory(memory);
    try {
      const { format, handle } = attached;
      const facts = format.describe?.(handle) ?? {};
      return { source, format: format.type, name: format.name, sizeBytes: memory.sizeBytes, facts };
    } finally {
      attached.detach();
    }
  } finally {
    memory.close();
  }
}
