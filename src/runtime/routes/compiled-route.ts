/**
 * A route with its service and plugin config laid together. Pipelines are compiled when the first request needs them.
 * Promise: the object never changes what it means; when one of its records changes the route makes another.
 */
import type { Consumer } from "../../plugin/plugin-consumer.ts";
import type { RequestView, RouteInfo } from "../../plugin/request-view.ts";
import { type ConsumerLayer, ConsumerUnit } from "../consumers/consumer-unit.ts";
import { compilePipeline, mergePlugins, ranBeforeConsumer } from "../plugins/pipeline.ts";
import type { PluginSet } from "../plugins/plugin-unit.ts";
import type { Timeouts } from "../upstream/upstream-unit.ts";
import type { Pipeline, RouteUnit, UpstreamChoice } from "./route-unit.ts";

/** Where requests go when no plugin chose: asked per request. */
export interface UpstreamSource {
  choose(): UpstreamChoice;
}

interface CompiledRouteInput {
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

export class CompiledRoute implements RouteUnit {
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

  constructor(input: CompiledRouteInput) {
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
