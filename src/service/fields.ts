import { PerdureError } from "../base/index.ts";

/** What was sent to an operation: an object whose fields are checked as they are read. */
export class Fields {
  readonly #values: Map<string, unknown>;

  /** @throws EINVAL for what is no object */
  constructor(value: unknown) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw wrong("the input is no JSON object");
    this.#values = new Map(Object.entries(value));
  }

  /** @throws EINVAL */
  text(field: string): string {
    const value = this.optionalText(field);
    if (value === undefined) throw wrong(`the field "${field}" is missing`);
    return value;
  }

  /** @throws EINVAL */
  optionalText(field: string): string | undefined {
    const value = this.#take(field);
    // A NUL ends a name for whoever speaks C, on the wire and in a shell.
    if (value === undefined || (typeof value === "string" && !value.includes("\0"))) return value;
    throw wrong(`the field "${field}" is no text without NUL`);
  }

  /** A number of bytes. @throws EINVAL */
  bytes(field: string): number {
    const value = this.optionalBytes(field);
    if (value === undefined) throw wrong(`the field "${field}" is missing`);
    return value;
  }

  /** @throws EINVAL */
  optionalBytes(field: string): number | undefined {
    const value = this.#take(field);
    if (value === undefined || (Number.isSafeInteger(value) && Number(value) >= 0)) return value as number | undefined;
    throw wrong(`the field "${field}" is no whole number from 0 on`);
  }

  /** Whoever sends a field that nobody reads means something that would not happen. @throws EINVAL */
  refuseOthers(): void {
    for (const field of this.#values.keys()) throw wrong(`there is no field "${field}" here`);
  }

  #take(field: string): unknown {
    const value = this.#values.get(field);
    this.#values.delete(field);
    return value;
  }
}

function wrong(what: string): PerdureError {
  return new PerdureError("EINVAL", what);
}
