/**
 * The calls that this process refused last, so that "why" has an answer by request id. Bounded by number and by the
 * length of each text; holds no token, no query, no header. A refusal is an answer of the gateway itself with 400 or
 * more that is not an upstream's fault. Source: docs/spec/tokens.md section 12.
 */
import type { Clock } from "../../base/clock.ts";
import type { Counter, Family, Metrics } from "../../base/metrics.ts";
import type { RefusalDetail } from "../../plugin/explanation.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import { knownRequestId } from "../../plugin/variables/variables.ts";
import { reasonOf } from "../gateway-reasons.ts";

export const REFUSALS_MAX = 1_000;
const REASONS_MAX = 100;
const TEXT_MAX = 256;

/** One refused call, as it is shown. Undefined members are not known. */
export interface RecentRefusal {
  /** Seconds since 1970, with fractions. */
  readonly time: number;
  /** Only where somebody was told: the client, the upstream, a log. Put in when all of them could have made one. */
  request_id?: string | undefined;
  readonly client: string;
  readonly method?: string | undefined;
  readonly route?: string | undefined;
  readonly status: number;
  readonly reason: string;
  /** Whose answer it was; undefined: the gateway's own. */
  readonly plugin?: string | undefined;
  readonly consumer?: string | undefined;
  readonly credential?: string | undefined;
  /** Id of the issuer's record. */
  readonly issuer?: string | undefined;
  readonly kid?: string | undefined;
  readonly detail?: string | undefined;
}

/** Which refusals are asked for; a member that is absent asks nothing. */
export interface RefusalQuery {
  readonly request_id?: string;
  readonly consumer?: string;
  readonly reason?: string;
}

export class RecentRefusals {
  readonly #kept: RecentRefusal[] = [];
  readonly #max: number;
  readonly #family: Family<Counter>;
  /** By plugin and reason: one look-up of each instead of a text made of both. */
  readonly #counters = new Map<string, Map<string, Counter>>();
  /** Where the next one goes. */
  #at = 0;

  constructor(metrics: Metrics, max = REFUSALS_MAX) {
    this.#max = max;
    this.#family = metrics.counter("jotgate_refusals_total", "Calls refused, by whom and why", ["plugin", "reason"]);
  }

  /** @param view of the request, when all that could make its id had their turn */
  add(refused: RecentRefusal, view?: RequestView): void {
    if (view) refused.request_id = short(knownRequestId(view));
    this.#kept[this.#at] = refused;
    this.#at = (this.#at + 1) % this.#max;
    this.#counter(refused.plugin ?? "", refused.reason).inc();
  }

  #counter(plugin: string, reason: string): Counter {
    const reasons = this.#counters.get(plugin) ?? new Map<string, Counter>();
    if (reasons.size === 0) this.#counters.set(plugin, reasons);
    let counter = reasons.get(reason);
    // What own plugins give as a reason is theirs to bound: beyond this many it is looked up each time.
    if (counter === undefined) {
      counter = this.#family.child(plugin, reason);
      if (reasons.size < REASONS_MAX) reasons.set(reason, counter);
    }
    return counter;
  }

  /** The newest first. */
  find(query: RefusalQuery): readonly RecentRefusal[] {
    const found = this.#kept.filter((one) => answers(one, query));
    return found.sort((a, b) => b.time - a.time);
  }
}

function answers(one: RecentRefusal, { request_id: id, consumer, reason }: RefusalQuery): boolean {
  if (id !== undefined && one.request_id !== id) return false;
  if (consumer !== undefined && one.consumer !== consumer) return false;
  return reason === undefined || one.reason === reason;
}

/**
 * What is kept of an exchange, without the request's id.
 * @param plugin whose answer it was @param known what it noted
 */
export function refusedCall(
  view: RequestView,
  status: number,
  plugin: string | undefined,
  known: RefusalDetail | undefined,
  clock: Clock,
): RecentRefusal {
  return {
    time: clock.nowMs() / 1_000,
    request_id: undefined,
    client: view.clientAddress,
    method: short(view.head.method),
    route: view.route?.id,
    status,
    reason: view.reason,
    plugin,
    consumer: view.consumer?.username ?? known?.consumer,
    credential: view.credentialId ?? known?.credential,
    issuer: known?.issuer,
    kid: short(known?.kid),
    detail: short(known?.detail),
  };
}

/** Whether an answer of the gateway itself says no: one that is the upstream's doing, or the client's leaving, does not. */
export function isRefusal(status: number, reason: string): boolean {
  if (status < 400 || reason === "" || reason === "client_aborted") return false;
  return reasonOf(reason)?.acts !== "upstream";
}

function short<T extends string | undefined>(text: T): T | string {
  return text === undefined || text.length <= TEXT_MAX ? text : text.slice(0, TEXT_MAX);
}
