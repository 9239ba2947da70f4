/** Where the server tells what happens, in the form of pino and its like: fields first, then a sentence. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** Tells nobody. */
export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} };
