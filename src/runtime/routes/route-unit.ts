/**
 * A compiled route: everything a request needs after it matched, with nothing left to work out.
 * Units are frozen in meaning: a changed record makes a new unit, requests under way keep theirs.
 */

import type { ExplainHandler } from "../../plugin/explanation.ts";
import type { PhaseHandler, PhaseResult, Plugin, PluginPhases, ResourceInfo } from "../../plugin/plugin.ts";
import type { Consumer } from "../../plugin/plugin-consumer.ts";
import type { RequestView, RouteInfo } from "../../plugin/request-view.ts";
import type { ResponseView } from "../../plugin/response-view.ts";
import type { Timeouts, UpstreamUnit } from "../upstream/upstream-unit.ts";

/** One plugin of a pipeline, and the record whose configuration it runs under. */
export interface PipelinePlugin {
  readonly plugin: Plugin;
  readonly resource: ResourceInfo;
  /** Whether a handler of a pipeline is this plugin's; false once its record was replaced. */
  owns(handler: PhaseHandler): boolean;
  /** Stands in for its rewrite phase where a request is explained. */
  readonly explain: ExplainHandler | undefined;
}

/** Handlers of merged plugins per phase, highest priority first; empty arrays where there is nothing to do. */
export interface Pipeline {
  /** Whose handlers these are, in the order in which they run. */
  readonly plugins: readonly PipelinePlugin[];
  readonly rewrite: readonly PhaseHandler[];
  /** The part of `rewrite` up to the last plugin that authenticates, and the part behind it. */
  readonly toConsumer: readonly PhaseHandler[];
  readonly afterConsumer: readonly PhaseHandler[];
  readonly access: readonly PhaseHandler[];
  readonly beforeProxy: readonly ((view: RequestView) => void)[];
  readonly headerFilter: readonly ((view: RequestView, response: ResponseView) => void)[];
  readonly log: readonly ((view: RequestView) => void)[];
}

/** Which upstream a request goes to, or why there is none. */
export type UpstreamChoice =
  | { readonly kind: "upstream"; readonly unit: UpstreamUnit }
  | { readonly kind: "none" } // no upstream configured: 503
  | { readonly kind: "missing" } // upstream_id not found: 502
  | { readonly kind: "uncertified" }; // no client certificate under client_cert_id: 502

export interface RouteUnit {
  readonly facts: RouteInfo;
  /** Route's own timeout, over the upstream's. */
  readonly timeouts: Timeouts | undefined;
  readonly websocket: boolean;
  /** A status to answer at once: 404 service missing, 503 plugin config missing; undefined normally. */
  readonly broken: 404 | 503 | undefined;
  /** Service, plugin config and route plugins merged. */
  readonly pipeline: Pipeline;
  /**
   * Pipeline for a request of this consumer: consumer over group over route; made once per pair and kept.
   * `rewrite` then holds what has not run yet. A plugin of the route that has run keeps the route's configuration in
   * every phase: each plugin runs under one whole configuration.
   * @param late the whole rewrite phase of the route has run, not just `toConsumer`
   * @returns the route's own pipeline when the consumer brings nothing; "group_missing" answers 503
   */
  pipelineFor(consumer: Consumer, late?: boolean): Pipeline | "group_missing";
  /** Current upstream by id or inline; read per request, since it may be replaced without the route changing. */
  upstream(view: RequestView): UpstreamChoice;
}

export type { PhaseResult, PluginPhases };
