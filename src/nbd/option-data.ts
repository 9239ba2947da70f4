/**
 * Readers of option data. They return undefined for data whose lengths do not add up: no length is believed before
 * it was compared with what is there.
 */

/** Data of INFO and GO. */
export interface InfoQuery {
  readonly name: Buffer;
  readonly infoTypes: ReadonlySet<number>;
}

/** Data of LIST_META_CONTEXT and SET_META_CONTEXT. */
export interface MetaContextQuery {
  readonly name: Buffer;
  readonly queries: readonly string[];
}

const nameAt = 4;

/** u32 name length, name, u16 count, count × u16. */
export function parseInfoQuery(data: Buffer): InfoQuery | undefined {
  if (data.length < nameAt + 2) return undefined;
  const nameLength = data.readUInt32BE(0);
  if (nameLength > data.length - nameAt - 2) return undefined;
  const countAt = nameAt + nameLength;
  const count = data.readUInt16BE(countAt);
  if (data.length !== countAt + 2 + 2 * count) return undefined;
  const infoTypes = new Set<number>();
  for (let k = 0; k < count; k++) infoTypes.add(data.readUInt16BE(countAt + 2 + 2 * k));
  return { name: data.subarray(nameAt, countAt), infoTypes };
}

/** u32 name length, name, u32 count, count × (u32 length, query). */
export function parseMetaContextQuery(data: Buffer): MetaContextQuery | undefined {
  if (data.length < nameAt + 4) return undefined;
  const nameLength = data.readUInt32BE(0);
  if (nameLength > data.length - nameAt - 4) return undefined;
  const countAt = nameAt + nameLength;
  const count = data.readUInt32BE(countAt);
  let at = countAt + 4;
  if (count > (data.length - at) / 4) return undefined;
  const queries: string[] = [];
  for (let k = 0; k < count; k++) {
    if (data.length - at < 4) return undefined;
    const length = data.readUInt32BE(at);
    at += 4;
    if (length > data.length - at) return undefined;
    queries.push(data.toString("utf8", at, at + length));
    at += length;
  }
  return at === data.length ? { name: data.subarray(nameAt, countAt), queries } : undefined;
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The text of a name, or undefined when it is not UTF-8: a name that is guessed at might mean another export. */
export function decodeName(name: Buffer): string | undefined {
  try {
    return decoder.decode(name);
  } catch {
    return undefined;
  }
}
