/**
 * What all exchanges of one gateway share, and the narrow view of the live configuration they need.
 */
import type { Clock } from "../base/clock.ts";
import type { RequestView } from "../plugin/request-view.ts";
import type { Uses } from "../plugin/uses.ts";
import type { Tried } from "../runtime/routes/path-table.ts";
import type { RouteMatch } from "../runtime/routes/route-entry.ts";
import type { Pipeline, Route } from "../runtime/routes/route-unit.ts";
import type { FinishedAnswers } from "./finished-answers.ts";
import type { GatewayMetrics } from "./gateway-metrics.ts";
import type { GatewaySettings } from "./gateway-settings.ts";
import type { HeadMemory } from "./http/remembered-bytes.ts";
import type { BodyMemory } from "./http/request-body.ts";
import type { AccessLog } from "./log/access-log.ts";
import type { ErrorLog } from "./log/error-log.ts";
import type { RecentRefusals } from "./log/refusals.ts";
import type { TimerWheel } from "./timer-wheel.ts";
import type { UpstreamClient } from "./upstream/upstream-client.ts";
import type { WriteScheduler } from "./write-scheduler.ts";

/** The part of the live configuration that requests look at; both answers may differ from one call to the next. */
export interface Routing {
  /** Whether a body must be read before `match`, because a route asks for what is in it. */
  readonly needsBody?: boolean;
  /** @param matchPath what patterns are compared with when it differs from `view.path` */
  match(view: RequestView, matchPath?: string): RouteMatch | undefined;
  /** All global rules as one. @param route the unit that matched, if one did */
  globalPipeline(route: Route | undefined): Pipeline;
  /** What `match` looks at, in its order, and why each is not it; for explanations. */
  tried?(view: RequestView, matchPath?: string): IterableIterator<Tried>;
  /** A route by its id; for explanations. */
  route?(id: string): Route | undefined;
}

/** Kept by whoever watches the store. */
export interface Freshness {
  /** Read by each request that was authenticated. */
  readonly isTooOld: boolean;
  /** Whether there ever was a whole configuration; read where a request finds nothing that would serve it. */
  readonly isLoaded: boolean;
}

export interface GatewayContext {
  readonly routing: Routing;
  readonly settings: GatewaySettings;
  readonly metrics: GatewayMetrics;
  readonly clock: Clock;
  readonly errors: ErrorLog;
  /** undefined when it is off. */
  accessLog: AccessLog | undefined;
  /** The last of them. */
  readonly refusals: RecentRefusals;
  /** Who called is noted here. */
  readonly uses: Uses;
  readonly wheel: TimerWheel;
  /** Of the bodies of all lanes. */
  readonly bodies: BodyMemory;
  /** Of the heads that are remembered, on both sides of the fast lane. */
  readonly heads: HeadMemory;
  /** What is answered here again and again. */
  readonly answers: FinishedAnswers;
  /** For both sides of the fast lane. */
  readonly writes: WriteScheduler;
  readonly client: UpstreamClient;
  /** True: every response asks the client to close. */
  draining: boolean;
  /** Of the configuration: older than `max_stale` allows refuses authenticated requests, none at all refuses every one. */
  readonly freshness: Freshness;
}
