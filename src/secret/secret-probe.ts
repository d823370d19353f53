/**
 * Asks a secret manager once, for whoever wants to know whether it can be asked: nothing is remembered or tried again.
 * Promise: all questions of one call end within `withinMs`; what comes back names reference and cause, never a value.
 */
import type { Clock } from "../base/clock.ts";
import { CodedError } from "../base/errors.ts";
import { openExchange } from "../base/net/guarded-exchange.ts";
import { isReference, parseReference } from "../base/reference.ts";
import { type Environment, openEnvironment } from "./managers/environment.ts";
import { openManager } from "./managers/secret-manager.ts";
import { SECRET_LIMITS } from "./resolver.ts";

export interface SecretQuestion {
  readonly manager: string;
  /** The record `secrets/{manager}/{id}`, in plain text. */
  readonly record: unknown;
  /** What stands behind manager and id in a reference. */
  readonly key: string;
}

/** undefined: it was read. "unusable": the record can ask nobody. "unavailable": there was no answer, or no permission. */
type SecretFault = { readonly kind: "unusable" | "unavailable" | "absent"; readonly why: string } | undefined;

export type AskSecrets = (questions: readonly SecretQuestion[]) => Promise<readonly SecretFault[]>;

interface SecretProbeOptions {
  readonly environment: Environment;
  readonly allowEnv?: readonly string[] | undefined;
  /** Addresses and ranges that are not called. */
  readonly denied: readonly string[];
  readonly nameServers?: readonly string[];
  readonly withinMs: number;
  readonly clock: Clock;
}

export function openSecretProbe(options: SecretProbeOptions): AskSecrets {
  const { environment, allowEnv, denied, nameServers, withinMs, clock } = options;
  const readEnv = openEnvironment(environment, allowEnv);
  const resolveEnv = (text: string): string => {
    if (!isReference(text)) return text;
    const reference = parseReference(text);
    const isEnv = typeof reference === "object" && reference.kind === "env";
    const reading = isEnv ? readEnv(reference.name, reference.sub) : undefined;
    if (reading?.kind === "found" && typeof reading.value === "string") return reading.value;
    throw new CodedError("SECRET_UNRESOLVED", { message: `${text}: not known to this process` });
  };
  return async (questions) => {
    const abort = new AbortController();
    const net = { denied, nameServers, timeoutMs: withinMs, signal: abort.signal };
    const exchange = openExchange({ ...SECRET_LIMITS, ...net, clock });
    const late: SecretFault = { kind: "unavailable", why: `no answer within ${withinMs} ms` };
    let end: (fault: SecretFault) => void = () => undefined;
    const ended = new Promise<SecretFault>((resolve) => (end = resolve));
    const timer = clock.after(withinMs, () => end(late));
    const ask = async ({ manager, record, key }: SecretQuestion): Promise<SecretFault> => {
      const opened = openManager(manager, record, { exchange, clock, resolveEnv });
      if (typeof opened === "string") return { kind: "unusable", why: opened };
      const reading = await opened.read(key);
      return reading.kind === "found" ? undefined : reading;
    };
    try {
      return await Promise.all(questions.map((question) => Promise.race([ask(question), ended])));
    } finally {
      timer.cancel();
      abort.abort();
    }
  };
}
