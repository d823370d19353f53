/**
 * A plugin from outside, wrapped so that whatever it does stays with its request: what a phase returns is an answer or
 * nothing, promises that nobody waits for are looked after, and `close` and `check` cannot break a change.
 * Promise: decided when it is compiled; plugins of the package are not wrapped and pay nothing.
 */
import type { Clock } from "../../base/clock.ts";
import { CodedError, messageOf } from "../../base/errors.ts";
import type { Log } from "../../base/log.ts";
import type { AnyCredential, PhaseHandler, Plugin, PluginPhases } from "../../plugin/plugin.ts";
import type { Answer } from "../../plugin/plugin-answer.ts";

const PHASES = ["rewrite", "access", "beforeProxy", "headerFilter", "log", "close"] as const;
type Phase = (typeof PHASES)[number];

/** Between two log lines of one configuration. */
const LINE_EVERY_MS = 1_000;

export function containPlugin(plugin: Plugin): Plugin {
  const { check, conflict, credential } = plugin;
  return Object.freeze({
    ...plugin,
    // Named, because a plugin may be an instance of a class.
    ...{ name: plugin.name, version: plugin.version, priority: plugin.priority, schema: plugin.schema },
    ...(credential ? { credential: containCredential(credential) } : {}),
    ...(check ? { check: (...args: Parameters<typeof check>) => verdict(() => check.apply(plugin, args)) } : {}),
    ...(conflict
      ? { conflict: (...args: Parameters<typeof conflict>) => verdict(() => conflict.apply(plugin, args)) }
      : {}),
    compile(...args: Parameters<Plugin["compile"]>): PluginPhases {
      const [, env] = args;
      return containPhases(plugin.name, plugin.compile(...args), new Complaints(plugin.name, env.log, env.clock));
    },
  });
}

function containCredential(credential: AnyCredential): AnyCredential {
  const { check } = credential;
  if (!check) return credential;
  return Object.freeze({
    ...credential,
    check: (...args: Parameters<typeof check>) => verdict(() => check.apply(credential, args)),
  });
}

/** A check that throws has not let the configuration through. */
function verdict(judge: () => unknown): string | undefined {
  try {
    const text = judge();
    return text === undefined || text === null ? undefined : String(text);
  } catch (error) {
    return `the check failed: ${messageOf(error)}`;
  }
}

function containPhases(name: string, made: unknown, complaints: Complaints): PluginPhases {
  if (typeof made !== "object" || made === null || isThenable(made)) {
    throw invalid(`${name}: compile must return its phases`);
  }
  const given = made as Readonly<Record<string, unknown>>;
  const contained: Record<string, unknown> = {};
  for (const phase of PHASES) {
    const run = given[phase];
    if (run === undefined) continue;
    if (typeof run !== "function") throw invalid(`${name}: ${phase} is no function`);
    contained[phase] = containPhase(name, phase, run as (...args: unknown[]) => unknown, complaints);
  }
  // True: every member is the wrapper of its phase.
  return Object.freeze(contained) as PluginPhases;
}

function containPhase(name: string, phase: Phase, run: (...args: unknown[]) => unknown, complaints: Complaints) {
  switch (phase) {
    case "rewrite":
    case "access":
      return answering(`${name}: ${phase}`, run as PhaseHandler);
    case "beforeProxy":
    case "headerFilter":
      return (...args: unknown[]): void => {
        const result = run(...args);
        if (!isThenable(result)) return;
        result.then(undefined, () => undefined);
        throw new TypeError(`${name}: ${phase} cannot wait, it must not return a promise`);
      };
    case "log":
      return (...args: unknown[]): void => {
        const result = run(...args);
        if (isThenable(result)) result.then(undefined, (error: unknown) => complaints.add(phase, error));
      };
    case "close":
      return (): void => {
        try {
          const result = run();
          if (isThenable(result)) result.then(undefined, (error: unknown) => complaints.add(phase, error));
        } catch (error) {
          complaints.add(phase, error);
        }
      };
  }
}

function answering(where: string, run: PhaseHandler): PhaseHandler {
  const wait = async (pending: PromiseLike<unknown>): Promise<Answer | undefined> => {
    const result = await pending;
    return result === undefined ? undefined : answerOf(where, result);
  };
  return (view) => {
    const result: unknown = run(view);
    if (result === undefined) return undefined;
    return isThenable(result) ? wait(result) : answerOf(where, result);
  };
}

/** Throws TypeError for what is no answer. */
function answerOf(where: string, value: unknown): Answer {
  if (typeof value !== "object" || value === null)
    throw new TypeError(`${where} returned neither answer nor undefined`);
  const { status, headers, body, reason } = value as Partial<Record<keyof Answer, unknown>>;
  if (!(typeof status === "number" && Number.isInteger(status) && status >= 200 && status <= 599)) {
    throw new TypeError(`${where} returned an answer without a status of 200 to 599`);
  }
  if (!(Array.isArray(headers) && headers.length % 2 === 0 && headers.every((text) => typeof text === "string"))) {
    throw new TypeError(`${where} returned headers that are no list of names and values`);
  }
  if (!(body === undefined || typeof body === "string" || Buffer.isBuffer(body))) {
    throw new TypeError(`${where} returned a body that is neither text nor Buffer`);
  }
  if (typeof reason !== "string") throw new TypeError(`${where} returned an answer without a reason`);
  return value as Answer; // true: all members were looked at
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === "object" && value !== null && typeof (value as { then?: unknown }).then === "function";
}

/** What went wrong where no request waits: at most a line a second. */
class Complaints {
  readonly #plugin: string;
  readonly #log: Log;
  readonly #clock: Clock;
  #nextMs = 0;
  #leftOut = 0;

  constructor(plugin: string, log: Log, clock: Clock) {
    this.#plugin = plugin;
    this.#log = log;
    this.#clock = clock;
  }

  add(phase: Phase, error: unknown): void {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs < this.#nextMs) {
      this.#leftOut++;
      return;
    }
    const stack = error instanceof Error ? error.stack : undefined;
    const fields = { plugin: this.#plugin, phase, error: messageOf(error), stack, leftOut: this.#leftOut };
    this.#log.error(fields, "a plugin failed where no request waits for it");
    this.#leftOut = 0;
    this.#nextMs = nowMs + LINE_EVERY_MS;
  }
}

function invalid(message: string): CodedError {
  return new CodedError("CONFIG_INVALID", { message });
}
