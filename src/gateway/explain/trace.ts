/**
 * Pipelines that say what they do: each handler runs as it would for a request when it has no effect beside, its stand-in
 * runs where the plugin has one, and all others are named with the reason why they were not run.
 */
import type { ExplainHandler, Explaining, Step } from "../../plugin/explanation.ts";
import type { PhaseHandler } from "../../plugin/plugin.ts";
import type { Answer } from "../../plugin/plugin-answer.ts";
import type { Pipeline, PipelinePlugin } from "../../runtime/routes/route-unit.ts";

type PhaseName = "rewrite" | "access";

/** One handler in the order of the request. */
interface Traced {
  readonly plugin: string;
  readonly phase: PhaseName;
  /** The record whose configuration it runs under: `routes/orders`. */
  readonly from: string;
  did: "went on" | "answered" | "not run" | "not reached";
  status?: number;
  reason?: string;
  /** Why it was not run. */
  why?: string;
}

const UNKNOWN = { not: "nobody says that its code has no effect beside the request" } as const;

export class Trace {
  readonly list: Traced[] = [];
  readonly #known = new Map<Pipeline, Pipeline>();
  readonly #token: string | undefined;
  readonly #nowMs: number;
  /** Of the plugin that answered, else of the last that told any. */
  steps: readonly Step[] = [];

  constructor(token: string | undefined, nowMs: number) {
    this.#token = token;
    this.#nowMs = nowMs;
  }

  get answered(): Traced | undefined {
    return this.list.find(({ did }) => did === "answered");
  }

  get isPartly(): boolean {
    return this.list.some(({ did }) => did === "not run");
  }

  /** The same for the same. Filters and logs are not run. */
  pipeline(real: Pipeline): Pipeline {
    const known = this.#known.get(real);
    if (known) return known;
    const wrap = (handlers: readonly PhaseHandler[], phase: PhaseName): PhaseHandler[] =>
      handlers.map((handler) => this.#traced(handler, phase, real.plugins));
    const made: Pipeline = {
      plugins: real.plugins,
      rewrite: wrap(real.rewrite, "rewrite"),
      toConsumer: wrap(real.toConsumer, "rewrite"),
      afterConsumer: wrap(real.afterConsumer, "rewrite"),
      access: wrap(real.access, "access"),
      beforeProxy: [],
      headerFilter: [],
      log: [],
    };
    this.#known.set(real, made);
    return made;
  }

  /** Names what an answer kept from running. @param real the pipelines of the request, as they would run */
  rest(...real: readonly Pipeline[]): void {
    for (const pipeline of real) {
      for (const [phase, handlers] of [
        ["rewrite", pipeline.rewrite],
        ["access", pipeline.access],
      ] as const) {
        for (const handler of handlers)
          this.#notReached(
            pipeline.plugins.find((one) => one.owns(handler)),
            phase,
          );
      }
    }
  }

  #notReached(owner: PipelinePlugin | undefined, phase: PhaseName): void {
    if (!owner) return;
    const from = recordOf(owner);
    const name = owner.plugin.name;
    if (this.list.some((one) => one.plugin === name && one.phase === phase && one.from === from)) return;
    this.list.push({ plugin: name, phase, from, did: "not reached" });
  }

  #traced(handler: PhaseHandler, phase: PhaseName, plugins: readonly PipelinePlugin[]): PhaseHandler {
    const owner = plugins.find((one) => one.owns(handler));
    const stand: ExplainHandler | undefined = phase === "rewrite" ? owner?.explain : undefined;
    const rule = owner?.plugin.explain ?? UNKNOWN;
    return (view) => {
      const one: Traced = {
        ...{ plugin: owner?.plugin.name ?? "", phase, from: owner ? recordOf(owner) : "", did: "went on" },
      };
      this.list.push(one);
      if (!stand && rule !== "run") {
        one.did = "not run";
        one.why = rule.not;
        return undefined;
      }
      const steps: Step[] = [];
      const explaining: Explaining = { token: this.#token, nowMs: this.#nowMs, steps };
      const ended = (answer: Answer | undefined): Answer | undefined => {
        if (answer) Object.assign(one, { did: "answered", status: answer.status, reason: answer.reason });
        if (steps.length > 0) this.steps = steps;
        return answer;
      };
      const result = stand ? stand(view, explaining) : handler(view);
      return result instanceof Promise ? result.then(ended) : ended(result);
    };
  }
}

/** `global_rules/1`, as in keys. */
function recordOf({ resource }: PipelinePlugin): string {
  return `${resource.kind}s/${resource.id}`;
}
