/**
 * The calls that this process refused last, so that "why" has an answer by request id. Bounded by number and by the
 * length of each text; holds no token, no query, no header. A refusal is an answer of the gateway itself with 400 or
 * more that is not an upstream's fault. Source: docs/spec/tokens.md section 12.
 */
import type { Clock } from "../../base/clock.ts";
import type { RefusalDetail } from "../../plugin/refusal-detail.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import { requestIdOf } from "../../plugin/variables/variables.ts";
import { REASONS, type ReasonDefinition } from "../gateway-reasons.ts";

export const REFUSALS_MAX = 1_000;
const TEXT_MAX = 256;

/** One refused call, as it is shown. Absent members are not known. */
export interface RecentRefusal {
  /** Seconds since 1970, with fractions. */
  readonly time: number;
  readonly request_id?: string;
  readonly client: string;
  readonly method?: string;
  readonly route?: string;
  readonly status: number;
  readonly reason: string;
  /** Whose answer it was; absent: the gateway's own. */
  readonly plugin?: string;
  readonly consumer?: string;
  readonly credential?: string;
  /** Id of the issuer's record. */
  readonly issuer?: string;
  readonly kid?: string;
  readonly detail?: string;
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
  /** Where the next one goes. */
  #at = 0;

  constructor(max = REFUSALS_MAX) {
    this.#max = max;
  }

  add(refused: RecentRefusal): void {
    this.#kept[this.#at] = refused;
    this.#at = (this.#at + 1) % this.#max;
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
 * What is kept of an exchange; undefined when it was no refusal.
 * @param plugin whose answer it was @param known what it noted
 */
export function refusedCall(
  view: RequestView,
  status: number,
  plugin: string | undefined,
  known: RefusalDetail | undefined,
  clock: Clock,
): RecentRefusal | undefined {
  const { reason } = view;
  if (status < 400 || reason === "" || !isRefusal(reason)) return undefined;
  const route = view.route?.id;
  const consumer = view.consumer?.username ?? known?.consumer;
  const credential = view.credentialId ?? known?.credential;
  return {
    time: clock.nowMs() / 1_000,
    request_id: short(requestIdOf(view)),
    ...{ client: view.clientAddress, method: short(view.head.method) },
    ...(route !== undefined && { route }),
    ...{ status, reason },
    ...(plugin !== undefined && { plugin }),
    ...(consumer !== undefined && { consumer }),
    ...(credential !== undefined && { credential }),
    ...(known?.issuer !== undefined && { issuer: known.issuer }),
    ...(known?.kid !== undefined && { kid: short(known.kid) }),
    ...(known?.detail !== undefined && { detail: short(known.detail) }),
  };
}

/** A reason of the gateway's own that is the upstream's doing, or the client's leaving, refuses nobody. */
function isRefusal(reason: string): boolean {
  const own: ReasonDefinition | undefined = Object.hasOwn(REASONS, reason)
    ? REASONS[reason as keyof typeof REASONS] // true: it has it
    : undefined;
  return own?.acts !== "upstream" && reason !== "client_aborted";
}

function short(text: string): string {
  return text.length <= TEXT_MAX ? text : text.slice(0, TEXT_MAX);
}
