/**
 * opentelemetry: follows requests with spans for the gateway, what plugins waited for and each try of an upstream, and sends
 * those of sampled traces to a collector. Promise: it answers no request and delays none, whatever the collector does.
 * Source: APISIX 3.18; W3C Trace Context.
 */
import type { Attributes, Context, Link, SpanContext } from "@opentelemetry/api";
import type { Sampler } from "@opentelemetry/sdk-trace-base";
import { type Static, Type } from "typebox";
import { withDefaults } from "../../base/schema/schema-defaults.ts";
import { type CompileEnv, Defaulted, definePlugin } from "../../plugin/plugin.ts";
import type { RequestTrace, RequestView } from "../../plugin/request-view.ts";
import { requestIdOf } from "../../plugin/variables/variables.ts";
import { Words } from "../shared/schema-parts.ts";
import { CallTrace, newTraceId, PassedTrace, traceIdSum } from "./call-trace.ts";
import { compileRequestAttributes } from "./span-attributes.ts";
import { collectorSchema, loadPackages, type Packages, SpanExport } from "./span-export.ts";

const Fraction = Defaulted(Type.Number({ minimum: 0, maximum: 1, default: 0 }));
const Names = Type.Optional(Type.Array(Type.String({ minLength: 1 })));
const ROOT = { name: "always_off", options: { fraction: 0 } } as const;

const Root = Type.Object(
  {
    name: Defaulted(Words(["always_on", "always_off", "trace_id_ratio"], { default: "always_off" })),
    options: Defaulted(Type.Object({ fraction: Fraction }, { default: { fraction: 0 } })),
  },
  { default: ROOT },
);

const schema = Type.Object({
  sampler: Defaulted(
    Type.Object(
      {
        name: Defaulted(Words(["always_on", "always_off", "trace_id_ratio", "parent_base"], { default: "always_off" })),
        options: Defaulted(
          Type.Object({ fraction: Fraction, root: Defaulted(Root) }, { default: { fraction: 0, root: ROOT } }),
        ),
      },
      { default: { name: "always_off", options: { fraction: 0, root: ROOT } } },
    ),
  ),
  additional_attributes: Names,
  additional_header_prefix_attributes: Names,
});

const metadataSchema = Type.Object({
  trace_id_source: Defaulted(Words(["x-request-id", "random"], { default: "random" })),
  set_ngx_var: Defaulted(Type.Boolean({ default: false })),
  ...collectorSchema,
});

export const opentelemetry = definePlugin({
  name: "opentelemetry",
  version: 0.1,
  priority: 12_009,
  preferRoute: true,
  schema,
  metadataSchema,
  /** What the first request would wait for is loaded when a configuration names it. */
  check() {
    loadPackages();
    return undefined;
  },
  compile(conf, env) {
    const metadata = withDefaults<Static<typeof metadataSchema>>(metadataSchema, env.metadata("opentelemetry") ?? {});
    const packages = loadPackages();
    const { trace_id_source: _source, set_ngx_var: _variables, ...collecting } = metadata;
    const exporting = SpanExport.hold(collecting, env);
    const begin = openTraces(conf, metadata, exporting.state, packages, env);
    return {
      rewrite(view) {
        view.trace ??= begin(view);
        return undefined;
      },
      beforeProxy(view) {
        if (view.trace instanceof CallTrace) view.trace.beginTry(view);
      },
      log(view) {
        if (view.trace instanceof CallTrace) view.trace.end(view);
      },
      close: exporting.release,
    };
  },
});

function openTraces(
  conf: Static<typeof schema>,
  metadata: Static<typeof metadataSchema>,
  exporting: SpanExport,
  packages: Packages,
  env: CompileEnv,
): (view: RequestView) => RequestTrace {
  const { ROOT_CONTEXT, SpanKind, trace } = packages.api;
  const { parseTraceParent } = packages.core;
  const sampler = samplerOf(conf.sampler, packages);
  // Where there is no parent, ids below this are sampled.
  const bound = boundOf(conf.sampler);
  const shared = {
    exporting,
    attributesOf: compileRequestAttributes(conf, env),
    clock: env.clock,
    hasVariables: metadata.set_ngx_var,
  };
  const fromRequestId = metadata.trace_id_source === "x-request-id";
  const { RECORD_AND_SAMPLED } = packages.sdk.SamplingDecision;
  const isSampled = (context: Context, traceId: string): boolean =>
    sampler.shouldSample(context, traceId, "", SpanKind.SERVER, NOTHING, NO_LINKS).decision === RECORD_AND_SAMPLED;
  const { hasVariables } = shared;
  return (view) => {
    const received = view.headers.only("traceparent");
    const parent = received ? (parseTraceParent(received) ?? undefined) : undefined;
    let context = ROOT_CONTEXT;
    if (parent) {
      parent.isRemote = true;
      context = trace.setSpanContext(ROOT_CONTEXT, withState(parent, view, packages));
    } else view.headers.remove("tracestate"); // belongs to a parent
    const traceId = parent?.traceId ?? ((fromRequestId && traceIdOf(view)) || newTraceId());
    const isRecorded = parent === undefined ? isBelow(traceId, bound) : isSampled(context, traceId);
    const made = isRecorded ? new CallTrace(shared, traceId, context) : new PassedTrace(traceId, hasVariables);
    if (received === undefined) view.headers.append("traceparent", made.parent);
    else view.headers.set("traceparent", made.parent, "traceparent");
    return made;
  };
}

const NOTHING: Attributes = Object.freeze({});
const NO_LINKS: Link[] = [];

function withState(parent: SpanContext, view: RequestView, { core }: Packages): SpanContext {
  const states = view.headers.getAll("tracestate");
  if (states.length > 0) parent.traceState = new core.TraceState(states.join(","));
  return parent;
}

type SamplerConf = Static<typeof schema>["sampler"];

function samplerOf({ name, options }: SamplerConf, packages: Packages): Sampler {
  const { AlwaysOffSampler, AlwaysOnSampler, ParentBasedSampler, TraceIdRatioBasedSampler } = packages.sdk;
  if (name === "always_on") return new AlwaysOnSampler();
  if (name === "always_off") return new AlwaysOffSampler();
  if (name === "trace_id_ratio") return new TraceIdRatioBasedSampler(options.fraction);
  return new ParentBasedSampler({ root: rootOf({ name, options }, packages) });
}

function rootOf({ options }: SamplerConf, packages: Packages): Sampler {
  // True: what is under `root` are members of a sampler too, without a root of its own.
  return samplerOf(options.root as SamplerConf, packages);
}

/** As `TraceIdRatioBasedSampler` has it. */
function boundOf({ name, options }: SamplerConf): number {
  if (name === "parent_base") return boundOf(options.root as SamplerConf);
  if (name === "trace_id_ratio") return Math.floor(options.fraction * 0xffffffff);
  return name === "always_on" ? ALL : 0;
}

const ALL = 2 ** 32;

function isBelow(traceId: string, bound: number): boolean {
  return bound === ALL || (bound > 0 && traceIdSum(traceId) < bound);
}

/** The request's id as the id of its trace; undefined where it is no such number of 16 bytes. */
function traceIdOf(view: RequestView): string | undefined {
  const id = (view.header("x-request-id") ?? requestIdOf(view)).replaceAll("-", "").toLowerCase();
  return /^(?!0{32})[0-9a-f]{32}$/.test(id) ? id : undefined;
}
