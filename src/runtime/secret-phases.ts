/**
 * Phases of a plugin whose configuration holds secret references: resolved at first use, compiled again when a value
 * has changed. Promise: a request is answered 503 rather than let through on an unresolved reference.
 * Source: secrets.md sections 2, 5 and 6.
 */
import { messageOf } from "../base/errors.ts";
import { bareAnswer } from "../plugin/answer.ts";
import type { PhaseResult, PluginPhases } from "../plugin/plugin.ts";
import type { RequestView } from "../plugin/request-view.ts";
import { type SecretSource, withSecrets } from "./secret-source.ts";

export interface SecretPhasesInput {
  readonly conf: unknown;
  /** At least one. */
  readonly references: readonly string[];
  readonly secrets: SecretSource;
  /** Checks and compiles a configuration without references; may throw. */
  compile(conf: unknown): PluginPhases;
  /** Resolved, but unusable; said once per set of values. */
  failed(reason: string): void;
}

const UNRESOLVED = bareAnswer(503, "secret_unresolved");

export function openSecretPhases(input: SecretPhasesInput): PluginPhases {
  const compiled = new CompiledSecrets(input);
  return {
    rewrite: (view) => compiled.run("rewrite", view),
    access: (view) => compiled.run("access", view),
    beforeProxy: (view) => compiled.latest?.beforeProxy?.(view),
    headerFilter: (view, response) => compiled.latest?.headerFilter?.(view, response),
    log: (view) => compiled.latest?.log?.(view),
    close: () => compiled.close(),
  };
}

class CompiledSecrets {
  /** What the last request that resolved everything ran; undefined before and after a failure. */
  latest: PluginPhases | undefined;
  readonly #input: SecretPhasesInput;
  #values: readonly unknown[] = [];
  #closed = false;

  constructor(input: SecretPhasesInput) {
    this.#input = input;
  }

  run(phase: "rewrite" | "access", view: RequestView): PhaseResult {
    const values: unknown[] = [];
    let waiting = false;
    for (const reference of this.#input.references) {
      const value = this.#input.secrets.resolve(reference);
      if (value instanceof Promise) waiting = true;
      values.push(value);
    }
    if (!waiting) return this.#runWith(values, phase, view);
    return Promise.all(values).then((known) => this.#runWith(known, phase, view));
  }

  close(): void {
    this.#closed = true;
    this.latest?.close?.();
  }

  #runWith(values: readonly unknown[], phase: "rewrite" | "access", view: RequestView): PhaseResult {
    const phases = this.#phasesFor(values);
    if (!phases) return UNRESOLVED;
    return phases[phase]?.(view);
  }

  #phasesFor(values: readonly unknown[]): PluginPhases | undefined {
    if (values.includes(undefined)) return undefined;
    if (sameValues(values, this.#values)) return this.latest;
    const before = this.latest;
    this.#values = values;
    this.latest = this.#compile(values);
    if (this.#closed) this.latest?.close?.();
    else before?.close?.();
    return this.latest;
  }

  #compile(values: readonly unknown[]): PluginPhases | undefined {
    const { references, conf } = this.#input;
    try {
      return this.#input.compile(withSecrets(conf, new Map(references.map((one, at) => [one, values[at]]))));
    } catch (error) {
      this.#input.failed(messageOf(error));
      return undefined;
    }
  }
}

function sameValues(left: readonly unknown[], right: readonly unknown[]): boolean {
  if (left.length !== right.length) return false;
  // Values are JSON; all but a few are texts, which compare at once.
  return left.every((value, at) => value === right[at] || JSON.stringify(value) === JSON.stringify(right[at]));
}
