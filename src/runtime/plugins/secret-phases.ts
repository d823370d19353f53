/**
 * Phases of a plugin whose configuration holds secret references: resolved at first use, compiled again when a value
 * has changed. Promise: a request is answered 503 rather than let through on an unresolved reference.
 * Source: docs/spec/secrets.md sections 2, 5 and 6.
 */
import { messageOf } from "../../base/errors.ts";
import type { PhaseResult, PluginPhases } from "../../plugin/plugin.ts";
import { bareAnswer } from "../../plugin/plugin-answer.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import { type SecretUsers, withSecrets } from "./secret-source.ts";

interface SecretPhasesInput {
  readonly conf: unknown;
  /** At least one. */
  readonly references: readonly string[];
  readonly secrets: SecretUsers;
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

type RequestPhase = "rewrite" | "access";
type Values = ReadonlyMap<string, unknown> | undefined;

class CompiledSecrets {
  /** Compiled with the values known last; undefined before the first and when they were unusable. */
  latest: PluginPhases | undefined;
  readonly #input: SecretPhasesInput;
  readonly #release: () => void;
  /** Whether a value may be another than `latest` was compiled with. */
  #isStale = true;
  #compiledWith = "";
  #isClosed = false;

  constructor(input: SecretPhasesInput) {
    this.#input = input;
    this.#release = input.secrets.use(input.references, () => {
      this.#isStale = true;
    });
  }

  run(phase: RequestPhase, view: RequestView): PhaseResult {
    if (!this.#isStale) return this.latest ? this.latest[phase]?.(view) : UNRESOLVED;
    const { secrets, references } = this.#input;
    const values = secrets.peek(references);
    if (values) return this.#runWith(values, phase, view);
    return secrets.resolve(references).then((known) => this.#runWith(known, phase, view));
  }

  close(): void {
    this.#isClosed = true;
    this.#release();
    this.latest?.close?.();
  }

  #runWith(values: Values, phase: RequestPhase, view: RequestView): PhaseResult {
    if (!values) return UNRESOLVED;
    this.#compile(values);
    return this.latest ? this.latest[phase]?.(view) : UNRESOLVED;
  }

  #compile(values: ReadonlyMap<string, unknown>): void {
    this.#isStale = false;
    const text = JSON.stringify([...values]);
    if (text === this.#compiledWith) return;
    this.#compiledWith = text;
    const before = this.latest;
    try {
      this.latest = this.#input.compile(withSecrets(this.#input.conf, values));
    } catch (error) {
      this.latest = undefined;
      this.#input.failed(messageOf(error));
    }
    before?.close?.();
    if (this.#isClosed) this.latest?.close?.();
  }
}
