/**
 * The metrics of the gateway; children are bound once per route and status, so a request adds to plain numbers.
 * Promise: labels are route ids and words of this program, never anything a client sent.
 */
import type { Counter, Family, Gauge, Histogram, Metrics, Sample } from "../base/metrics.ts";
import type { RouteInfo } from "../plugin/request-view.ts";
import type { OwnReason } from "./gateway-reasons.ts";

const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
/** Label of requests that matched no route. */
const NO_ROUTE = "none";

/** What one route counts into. */
class RouteMetrics {
  readonly #requests: Family<Counter>;
  readonly #route: string;
  readonly #byStatus: (Counter | undefined)[] = [];
  readonly duration: Histogram;
  readonly upstream: Histogram;

  constructor(requests: Family<Counter>, route: string, duration: Histogram, upstream: Histogram) {
    this.#requests = requests;
    this.#route = route;
    this.duration = duration;
    this.upstream = upstream;
  }

  count(status: number): void {
    let counter = this.#byStatus[status];
    if (!counter) {
      counter = this.#requests.child(this.#route, String(status));
      this.#byStatus[status] = counter;
    }
    counter.inc();
  }
}

export class GatewayMetrics {
  readonly #requests: Family<Counter>;
  readonly #duration: Family<Histogram>;
  readonly #upstream: Family<Histogram>;
  readonly #errors: Family<Counter>;
  readonly #routes = new WeakMap<RouteInfo, RouteMetrics>();
  readonly #errorChildren = new Map<OwnReason, Counter>();
  /** Of the request before: routes are asked for in a row. */
  #lastFacts: RouteInfo | undefined;
  #last: RouteMetrics;
  readonly unmatched: RouteMetrics;
  readonly inFlight: Gauge;
  readonly connections: Gauge;
  /** Connections of clients since the start. */
  accepted = 0;
  readonly retries: Counter;
  readonly droppedHeaders: Counter;
  readonly fast: Counter;
  readonly general: Counter;
  readonly http2: Counter;
  readonly handedOver: Counter;

  constructor(metrics: Metrics) {
    this.#requests = metrics.counter("jotgate_http_requests_total", "Requests answered, by route and status.", [
      "route",
      "status",
    ]);
    this.#duration = metrics.histogram(
      "jotgate_http_request_duration_seconds",
      "From the request head to the last byte of the response.",
      SECONDS,
      ["route"],
    );
    this.#upstream = metrics.histogram(
      "jotgate_upstream_duration_seconds",
      "From the request being sent upstream to the head of its response.",
      SECONDS,
      ["route"],
    );
    this.#errors = metrics.counter("jotgate_gateway_errors_total", "Errors the gateway answered itself, by reason.", [
      "reason",
    ]);
    const lanes = metrics.counter("jotgate_lane_requests_total", "Requests by the lane that carried them.", ["lane"]);
    this.fast = lanes.child("fast");
    this.general = lanes.child("general");
    this.http2 = lanes.child("http2");
    this.handedOver = metrics
      .counter("jotgate_lane_handovers_total", "Connections the fast lane handed to the general lane.")
      .child();
    this.inFlight = metrics.gauge("jotgate_http_requests_in_flight", "Requests begun and not yet answered.").child();
    this.connections = metrics.gauge("jotgate_client_connections", "Open connections of clients.").child();
    this.retries = metrics
      .counter("jotgate_upstream_retries_total", "Tries after the first, over all requests.")
      .child();
    this.droppedHeaders = metrics
      .counter("jotgate_dropped_headers_total", "Headers left out because their value cannot stand in a header.")
      .child();
    this.unmatched = this.#make(NO_ROUTE);
    this.#last = this.unmatched;
    this.#collectApisix(metrics);
  }

  /** Children of a route; made when its facts are first seen, then one look-up. */
  route(facts: RouteInfo | undefined): RouteMetrics {
    if (!facts) return this.unmatched;
    if (facts === this.#lastFacts) return this.#last;
    let known = this.#routes.get(facts);
    if (!known) {
      known = this.#make(facts.id);
      this.#routes.set(facts, known);
    }
    this.#lastFacts = facts;
    this.#last = known;
    return known;
  }

  /** Counts an error the gateway answered, or ended a request for. */
  error(reason: OwnReason): void {
    let counter = this.#errorChildren.get(reason);
    if (!counter) {
      counter = this.#errors.child(reason);
      this.#errorChildren.set(reason, counter);
    }
    counter.inc();
  }

  /** What APISIX counts of its nginx. Source: docs/spec/plugins.md section 11. */
  #collectApisix(metrics: Metrics): void {
    const total = ["apisix_http_requests_total", "The total number of client requests since APISIX started"] as const;
    metrics.counterOf(
      ...total,
      [],
      () => [{ labels: [], value: this.fast.value + this.general.value + this.http2.value }],
      "gauge",
    );
    const connections = ["apisix_nginx_http_current_connections", "Number of HTTP connections", ["state"]] as const;
    metrics.counterOf(...connections, () => byState({ accepted: this.accepted, handled: this.accepted }), "gauge");
    metrics.gaugeOf(...connections, () => {
      const active = this.connections.value;
      // A connection with several requests at work, as HTTP/2 has, is one that writes.
      const writing = Math.min(active, this.inFlight.value);
      return byState({ active, reading: 0, writing, waiting: active - writing });
    });
  }

  #make(route: string): RouteMetrics {
    return new RouteMetrics(this.#requests, route, this.#duration.child(route), this.#upstream.child(route));
  }
}

function byState(states: Readonly<Record<string, number>>): readonly Sample[] {
  return Object.entries(states).map(([state, value]) => ({ labels: [state], value }));
}
