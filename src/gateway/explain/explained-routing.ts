/**
 * The live configuration as an explanation sees it: the same matches, merges and choices, with traced pipelines, and an
 * upstream that is named where a request would be sent to it.
 */
import type { Consumer } from "../../plugin/plugin-consumer.ts";
import type { RequestView, RouteInfo } from "../../plugin/request-view.ts";
import type { RouteMatch } from "../../runtime/routes/route-entry.ts";
import type { Pipeline, Route, UpstreamChoice } from "../../runtime/routes/route-unit.ts";
import type { Attempts, Timeouts, UpstreamPreview, UpstreamUnit } from "../../runtime/upstream/upstream-unit.ts";
import type { Routing } from "../gateway-context.ts";
import type { Trace } from "./trace.ts";

/** Where the request would go. */
export interface Forwarded {
  readonly unit: UpstreamUnit;
  /** undefined where a unit cannot tell. */
  readonly preview: UpstreamPreview | undefined;
}

export class ExplainedRouting implements Routing {
  /** The pipelines that would run, as they are. */
  global: Pipeline | undefined;
  pipeline: Pipeline | undefined;
  readonly #real: Routing;
  readonly #trace: Trace;
  readonly #forced: Route | undefined;
  readonly #onForward: (forwarded: Forwarded) => void;
  readonly #units = new Map<Route, ExplainedRoute>();

  /** @param forced matches whatever the request is */
  constructor(real: Routing, trace: Trace, forced: Route | undefined, onForward: (to: Forwarded) => void) {
    this.#real = real;
    this.#trace = trace;
    this.#forced = forced;
    this.#onForward = onForward;
  }

  get needsBody(): boolean {
    return this.#real.needsBody === true;
  }

  match(view: RequestView, matchPath?: string): RouteMatch | undefined {
    const found = this.#forced ? { unit: this.#forced, facts: this.#forced.facts } : this.#real.match(view, matchPath);
    if (!found) return undefined;
    let unit = this.#units.get(found.unit);
    if (!unit) {
      const seen = (pipeline: Pipeline): Pipeline => {
        this.pipeline = pipeline;
        return this.#trace.pipeline(pipeline);
      };
      unit = new ExplainedRoute(found.unit, seen, this.#onForward);
      this.#units.set(found.unit, unit);
    }
    return { unit, facts: found.facts };
  }

  globalPipeline(route: Route | undefined): Pipeline {
    this.global = this.#real.globalPipeline(route instanceof ExplainedRoute ? route.real : route);
    return this.#trace.pipeline(this.global);
  }
}

class ExplainedRoute implements Route {
  readonly real: Route;
  readonly facts: RouteInfo;
  readonly timeouts: Timeouts | undefined;
  readonly websocket: boolean;
  readonly broken: 404 | 503 | undefined;
  readonly #seen: (pipeline: Pipeline) => Pipeline;
  readonly #onForward: (forwarded: Forwarded) => void;

  constructor(real: Route, seen: (pipeline: Pipeline) => Pipeline, onForward: (forwarded: Forwarded) => void) {
    this.real = real;
    this.facts = real.facts;
    this.timeouts = real.timeouts;
    this.websocket = real.websocket;
    this.broken = real.broken;
    this.#seen = seen;
    this.#onForward = onForward;
  }

  get pipeline(): Pipeline {
    return this.#seen(this.real.pipeline);
  }

  pipelineFor(consumer: Consumer, late?: boolean): Pipeline | "group_missing" {
    const merged = this.real.pipelineFor(consumer, late);
    return merged === "group_missing" ? merged : this.#seen(merged);
  }

  upstream(view: RequestView): UpstreamChoice {
    const choice = this.real.upstream(view);
    if (choice.kind !== "upstream") return choice;
    const { unit } = choice;
    const start = (): Attempts | undefined => {
      const preview = unit.preview?.(view);
      return unit.preview && !preview ? undefined : this.#named({ unit, preview });
    };
    const { id, name, scheme, http2, passHost, upstreamHost, timeouts, pool, tls } = unit;
    const facts = { id, name, scheme, http2, passHost, upstreamHost, timeouts, pool, tls };
    return { kind: "upstream", unit: { ...facts, start } };
  }

  /** Attempts that never give a target: whoever explains ends the exchange when the first is asked for. */
  #named(forwarded: Forwarded): Attempts {
    return {
      tried: [],
      next: () => {
        this.#onForward(forwarded);
        return new Promise(() => undefined);
      },
      nextAddress: () => undefined,
      mayRetry: () => "exhausted",
      report: () => undefined,
    };
  }
}
