/**
 * A route with its service and plugin config laid together. Pipelines are compiled when the first request needs them.
 * Promise: the object never changes what it means; when one of its records changes the route makes another.
 */

import type { ExplainHandler } from "../../plugin/explanation.ts";
import type { PhaseHandler, PhaseResult, Plugin, PluginPhases, ResourceInfo } from "../../plugin/plugin.ts";
import type { Consumer } from "../../plugin/plugin-consumer.ts";
import type { RequestView, RouteInfo } from "../../plugin/request-view.ts";
import type { ResponseView } from "../../plugin/response-view.ts";
import { type ConsumerLayer, ConsumerUnit } from "../consumers/consumer-unit.ts";
import { compilePipeline, mergePlugins, ranBeforeConsumer } from "../plugins/pipeline.ts";
import type { PluginSet } from "../plugins/plugin-unit.ts";
import type { Timeouts, UpstreamUnit } from "../upstream/upstream-unit.ts";

/** Where requests go when no plugin chose: asked per request. */
export interface UpstreamSource {
  choose(): UpstreamChoice;
}

interface RouteUnitInput {
  readonly facts: RouteInfo;
  readonly timeouts: Timeouts | undefined;
  readonly websocket: boolean;
  readonly broken: 404 | 503 | undefined;
  /** Service, plugin config, route. */
  readonly layers: readonly PluginSet[];
  readonly upstream: UpstreamSource;
}

/** Pipelines of consumers that one route keeps; then it begins anew, so that many consumers cannot fill memory. */
const CONSUMER_PIPELINES_MAX = 1_000;

export class RouteUnit implements Route {
  readonly facts: RouteInfo;
  readonly timeouts: Timeouts | undefined;
  readonly websocket: boolean;
  readonly broken: 404 | 503 | undefined;
  readonly #layers: readonly PluginSet[];
  readonly #upstream: UpstreamSource;
  #merged: PluginSet | undefined;
  #pipeline: Pipeline | undefined;
  /** In time and late. */
  #byLayer: WeakMap<ConsumerLayer, [Pipeline | undefined, Pipeline | undefined]> | undefined;
  #layerCount = 0;

  constructor(input: RouteUnitInput) {
    this.facts = input.facts;
    this.timeouts = input.timeouts;
    this.websocket = input.websocket;
    this.broken = input.broken;
    this.#layers = input.layers;
    this.#upstream = input.upstream;
  }

  get pipeline(): Pipeline {
    this.#pipeline ??= compilePipeline(this.#plugins);
    return this.#pipeline;
  }

  pipelineFor(consumer: Consumer, late = false): Pipeline | "group_missing" {
    // Tests and plugins may make consumers of their own, which bring nothing.
    if (!(consumer instanceof ConsumerUnit)) return this.pipeline;
    const layer = consumer.consumerLayer();
    if (layer === undefined) return this.pipeline;
    if (layer === "group_missing") return layer;
    return this.#byLayer?.get(layer)?.[late ? 1 : 0] ?? this.#lay(layer, late);
  }

  upstream(view: RequestView): UpstreamChoice {
    // Only CompileEnv.upstream makes these handles.
    const chosen = view.upstreamChoice as UpstreamSource | undefined;
    return (chosen ?? this.#upstream).choose();
  }

  /** Whether the route's own plugins, enabled, have this one. */
  runs(plugin: string): boolean {
    return this.#plugins.some((unit) => unit.plugin.name === plugin && !unit.disabled);
  }

  get #plugins(): PluginSet {
    this.#merged ??= mergePlugins(this.#layers);
    return this.#merged;
  }

  #lay(layer: ConsumerLayer, late: boolean): Pipeline {
    const ran = ranBeforeConsumer(this.#plugins, late);
    const names = new Set([...ran].map((unit) => unit.plugin.name));
    const inTime = layer.filter((unit) => !names.has(unit.plugin.name));
    const pipeline = compilePipeline(mergePlugins([this.#plugins, inTime]), ran);
    if (this.#byLayer === undefined || this.#layerCount >= CONSUMER_PIPELINES_MAX) {
      this.#byLayer = new WeakMap();
      this.#layerCount = 0;
    }
    const made = this.#byLayer.get(layer) ?? [undefined, undefined];
    made[late ? 1 : 0] = pipeline;
    this.#byLayer.set(layer, made);
    this.#layerCount++;
    return pipeline;
  }
}

/**
 * A compiled route: everything a request needs after it matched, with nothing left to work out.
 * Units are frozen in meaning: a changed record makes a new unit, requests under way keep theirs.
 */

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

export interface Route {
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
