import { ERRORS, type ErrorCode, isPerdureError, PerdureError } from "../base/index.ts";

/** An error as it goes over the control socket. */
interface ToldError {
  /** Of the table of errors; another one for a defect. */
  readonly code: string;
  readonly message: string;
  readonly remedy?: string;
}

/** An error as the body of an answer. */
export function tellError(error: unknown): { error: ToldError } {
  if (isPerdureError(error)) return { error: { code: error.code, message: error.message, remedy: error.remedy } };
  return { error: { code: "DEFECT", message: error instanceof Error ? error.message : String(error) } };
}

/** The error that such a body tells of, as it would have been thrown here. */
export function toldError(body: unknown): Error {
  const told = (body as Partial<{ error: Partial<ToldError> }> | null)?.error;
  if (typeof told?.message !== "string") return new Error("the server answered without saying what is wrong");
  if (typeof told.code !== "string" || !Object.hasOwn(ERRORS, told.code)) return new Error(told.message);
  const remedy = typeof told.remedy === "string" ? { remedy: told.remedy } : {};
  return new PerdureError(told.code as ErrorCode, told.message, remedy);
}
