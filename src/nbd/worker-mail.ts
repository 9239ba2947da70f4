import type { SharedDevice } from "../device/index.ts";
import type { AdmissionTerms } from "./admission.ts";
import type { ExportTerms } from "./exports.ts";
import type { HandOver } from "./negotiation.ts";
import type { TlsMode } from "./tls-options.ts";

/** What a serving thread is started with. */
export interface WorkerStart {
  /** Its number, from 1 on. */
  readonly thread: number;
  /** Bells of all serving threads, the first one's first: eventfds. */
  readonly bells: readonly number[];
  readonly admission: AdmissionTerms;
  readonly tls: TlsMode;
  readonly handshakeTimeoutMs: number;
  readonly idleTimeoutMs: number;
  readonly drainTimeoutMs: number;
}

/** What a serving thread is told; it answers each that has a ticket when it is done. */
export type ToWorker =
  /** Accept connections of a socket, or stop that. Only the first thread accepts. */
  | { readonly kind: "listen"; readonly fd: number }
  | { readonly kind: "unlisten"; readonly ticket: number }
  /** Serve a device; without one the name is served by the event loop. */
  | { readonly kind: "export"; readonly terms: ExportTerms; readonly shared?: SharedDevice }
  | { readonly kind: "unexport"; readonly name: string; readonly ticket: number }
  | { readonly kind: "rename"; readonly name: string; readonly to: string }
  | { readonly kind: "drain"; readonly ticket: number }
  | { readonly kind: "close"; readonly ticket: number };

/** What a serving thread tells. */
export type FromWorker =
  | { readonly kind: "done"; readonly ticket: number }
  | {
      readonly kind: "log";
      readonly level: "debug" | "info" | "warn" | "error";
      readonly fields: object;
      readonly message: string;
    }
  | { readonly kind: "opened"; readonly id: number; readonly exportName: string }
  | { readonly kind: "left"; readonly id: number }
  /** A client wants what only the event loop has: it goes on there. */
  | { readonly kind: "moved"; readonly place: number; readonly handOver: HandOver };
