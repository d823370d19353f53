/**
 * proxy-cache: answers of upstreams are kept in memory or on disk, and given again.
 * Promise: a client cannot make the cache give its response to a request of another meaning, and gets no response that is somebody
 * else's; a cache that is away, full or slow costs hits. Source: APISIX 3.18 proxy-cache, RFC 9111.
 */
import { createHash } from "node:crypto";
import { type Static, Type } from "typebox";
import { isCodedError } from "../../base/errors.ts";
import type { BodyObserver } from "../../plugin/body-stages.ts";
import { HeaderList } from "../../plugin/headers.ts";
import { type CompileEnv, Defaulted, definePlugin, type PhaseResult, type WriteContext } from "../../plugin/plugin.ts";
import { type Answer, bareAnswer } from "../../plugin/plugin-answer.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import type { ResponseView } from "../../plugin/response-view.ts";
import type { Variable } from "../../plugin/variables/query.ts";
import { compileVariable } from "../../plugin/variables/variables.ts";
import { Words } from "../shared/schema-parts.ts";
import { directivesOf, isFreshEnough, mayKeep, mustBypass, saidTtlMs } from "./cache-rules.ts";
import { type CacheStore, findCached, keepCached, nameOf, purgeCached } from "./cache-store.ts";
import { diskTtlMs, holdZone, zoneError, zonesOf } from "./cache-zones.ts";
import { answerOf, type CachedResponse } from "./cached-response.ts";
import { tokenCallerOf } from "./token-caller.ts";

const PART = "(^[^\\$].+$|^\\$[0-9a-zA-Z_]+$)";
const Parts = (description: string) => Type.Array(Type.String({ pattern: PART }), { minItems: 1, description });

const schema = Type.Object({
  max_resp_body_size: Defaulted(
    Type.Integer({
      minimum: 1,
      default: 67_108_864,
      description: "Longer bodies are not kept; on disk those above 16 MiB never are.",
    }),
  ),
  cache_zone: Defaulted(
    Type.String({
      minLength: 1,
      maxLength: 100,
      default: "disk_cache_one",
      description: "A zone of the setting `proxy_cache.zones`.",
    }),
  ),
  cache_strategy: Defaulted(
    Words(["disk", "memory"], { default: "disk", description: "Where the zone keeps responses." }),
  ),
  cache_key: Defaulted(
    Type.Array(Type.String({ pattern: PART }), {
      minItems: 1,
      default: ["$host", "$request_uri"],
      description: "Texts and variables that tell responses apart.",
    }),
  ),
  cache_http_status: Defaulted(
    Type.Array(Type.Integer({ minimum: 200, maximum: 599 }), {
      ...{ minItems: 1, uniqueItems: true, default: [200, 301, 404] },
      description: "Statuses that are kept.",
    }),
  ),
  cache_method: Defaulted(
    Type.Array(Words(["GET", "POST", "HEAD"]), {
      ...{ minItems: 1, uniqueItems: true, default: ["GET", "HEAD"] },
      description: "Methods that are answered from the cache; responses to HEAD are not kept.",
    }),
  ),
  hide_cache_headers: Defaulted(
    Type.Boolean({ default: false, description: "Clients are not shown Cache-Control and Expires." }),
  ),
  cache_control: Defaulted(
    Type.Boolean({ default: false, description: "Cache-Control of requests and the age that responses name count." }),
  ),
  cache_bypass: Type.Optional(Parts("Where they give anything but nothing and 0, the cache is not asked.")),
  no_cache: Type.Optional(Parts("Where they give anything but nothing and 0, the response is not kept.")),
  cache_ttl: Defaulted(
    Type.Integer({ minimum: 1, default: 300, description: "Seconds that a zone in memory keeps a response." }),
  ),
  consumer_isolation: Defaulted(
    Type.Boolean({
      default: true,
      description: "Each consumer, and each user of a verified token, has a cache of its own.",
    }),
  ),
  cache_set_cookie: Defaulted(Type.Boolean({ default: false, description: "Responses with Set-Cookie are kept too." })),
});
type Conf = Static<typeof schema>;

/** Entries of a key that say who asks, where they have a value: then the key is the operator's own scheme. */
const IDENTITIES: ReadonlySet<string> = new Set([
  "$consumer_name",
  "$consumer_group_id",
  "$remote_user",
  "$http_authorization",
]);
/** Of the decoded path two requests may have the same text, and another meaning upstream. */
const SENT_PARTS: ReadonlyMap<string, Variable> = new Map<string, Variable>([
  ...["$uri", "$document_uri"].map((name): [string, Variable] => [name, ({ head }) => head.escapedPath]),
  [
    "$request_uri",
    ({ head: { escapedPath, query } }) => (query === undefined ? escapedPath : `${escapedPath}?${query}`),
  ],
]);
const DISK_BODY_MAX = 16_777_216;
const POST_BODY_MAX = 1_048_576;
/** Of all responses that are being collected in a process. */
const COLLECTED_BYTES_MAX = 134_217_728;
const STATUS_HEADER = "Apisix-Cache-Status";
const NOT_CACHED = bareAnswer(504, "not_in_cache");
const PURGED = bareAnswer(200, "cache_purged");
const NOTHING_TO_PURGE = bareAnswer(404, "not_in_cache");

type CacheStatus = "HIT" | "MISS" | "BYPASS" | "EXPIRED" | "STALE";

/** What the access phase found out for the response. */
interface Lookup {
  status: CacheStatus;
  /** undefined: the response is not kept. */
  readonly key: string | undefined;
  readonly variant: string;
  /** See `Arrived.isPersonal`. */
  readonly isPersonal: boolean;
}

export const proxyCache = definePlugin({
  name: "proxy-cache",
  version: 0.2,
  priority: 1085,
  explain: { not: "it answers from a cache" },
  schema,
  check: confError,
  compile(conf, env) {
    const zone = zonesOf(env).find(({ name }) => name === conf.cache_zone);
    // A node without the zone caches nothing, and says so.
    if (zone === undefined || zoneError(zonesOf(env), conf) !== undefined) {
      env.log.warn(
        { plugin: "proxy-cache", zone: conf.cache_zone },
        "this node has no such cache zone: nothing is cached",
      );
      return {};
    }
    const { state: store, release } = holdZone(zone, env);
    const cache = new Caching(conf, env, store);
    return {
      access: (view) => cache.access(view),
      headerFilter: (view, response) => cache.headerFilter(view, response),
      close() {
        cache.close();
        release();
      },
    };
  },
});

function confError(conf: Conf, _find: unknown, write?: WriteContext): string | undefined {
  if (conf.cache_key.includes("$request_method")) return "cache_key variable $request_method unsupported";
  return write?.cacheZones && zoneError(write.cacheZones, conf);
}

class Caching {
  readonly #conf: Conf;
  readonly #env: CompileEnv;
  readonly #store: CacheStore;
  readonly #keyParts: readonly Variable[];
  readonly #bypass: readonly Variable[];
  readonly #noCache: readonly Variable[];
  readonly #identities: readonly Variable[];
  readonly #methods: ReadonlySet<string>;
  readonly #statuses: ReadonlySet<number>;
  readonly #bodyMax: number;
  readonly #note: string;
  readonly #collected: { readonly state: { bytes: number }; release(): void };
  readonly #purges: ReturnType<NonNullable<CompileEnv["siblings"]>["join"]> | undefined;

  constructor(conf: Conf, env: CompileEnv, store: CacheStore) {
    this.#conf = conf;
    this.#env = env;
    this.#store = store;
    this.#keyParts = conf.cache_key.map((part) => SENT_PARTS.get(part) ?? compilePart(part));
    this.#bypass = (conf.cache_bypass ?? []).map(compilePart);
    this.#noCache = (conf.no_cache ?? []).map(compilePart);
    this.#identities = conf.cache_key.filter((part) => IDENTITIES.has(part)).map(compilePart);
    this.#methods = new Set(conf.cache_method);
    this.#statuses = new Set(conf.cache_http_status);
    this.#bodyMax =
      conf.cache_strategy === "disk" ? Math.min(DISK_BODY_MAX, conf.max_resp_body_size) : conf.max_resp_body_size;
    this.#note = `proxy-cache ${env.resource.kind}/${env.resource.id}`;
    this.#collected = env.states.hold("proxy-cache", () => ({ bytes: 0 }));
    // A zone in memory is each process's own.
    if (conf.cache_strategy === "memory")
      this.#purges = env.siblings?.join(`proxy-cache ${conf.cache_zone}`, (key) => {
        if (typeof key === "string") void purgeCached(store, key);
      });
  }

  close(): void {
    this.#collected.release();
    this.#purges?.leave();
  }

  access(view: RequestView): PhaseResult {
    const { method } = view.head;
    if (method === "PURGE") return this.#purge(view);
    const isAsked = this.#methods.has(method);
    if (!isAsked || mustBypass(view) || isSet(this.#bypass, view)) {
      const status = !isAsked && this.#conf.cache_strategy === "memory" ? "MISS" : "BYPASS";
      return this.#pass(view, status, undefined);
    }
    if (method !== "POST") return this.#find(view, "");
    return view.body.read(POST_BODY_MAX).then(
      (body) => this.#find(view, postVariant(view, body)),
      (error: unknown) => {
        if (!isCodedError(error, "REQUEST_TOO_LARGE") && !isCodedError(error, "REQUEST_MEMORY_FULL")) throw error;
        return this.#pass(view, "BYPASS", undefined);
      },
    );
  }

  #purge(view: RequestView): Answer | Promise<Answer> {
    const key = this.#keyOf(view);
    this.#purges?.tell(key);
    const answer = (found: boolean): Answer => (found ? PURGED : NOTHING_TO_PURGE);
    const purged = purgeCached(this.#store, key);
    return purged instanceof Promise ? purged.then(answer) : answer(purged);
  }

  #find(view: RequestView, variant: string): PhaseResult {
    const wanted = directivesOf(view.headers.getAll("cache-control"));
    if (this.#conf.cache_control && (wanted.has("no-store") || wanted.has("no-cache")))
      return this.#pass(view, "BYPASS", undefined);
    const key = this.#keyOf(view);
    const judge = (cached: CachedResponse | undefined): Answer | undefined => {
      const nowMs = this.#env.clock.nowMs();
      if (cached === undefined) {
        if (this.#conf.cache_control && wanted.has("only-if-cached")) return NOT_CACHED;
        return this.#pass(view, "MISS", key, variant);
      }
      // Clocks that were set back make nothing fresh for longer.
      if (nowMs >= cached.storedMs + cached.ttlMs || nowMs < cached.storedMs)
        return this.#pass(view, "EXPIRED", key, variant);
      if (this.#conf.cache_control && !isFreshEnough(cached, wanted, nowMs))
        return this.#pass(view, "STALE", key, variant);
      this.#pass(view, "HIT", undefined);
      return answerOf(cached, view.headers, nowMs);
    };
    const found = findCached(this.#store, key, variant, view.headers);
    return found instanceof Promise ? found.then(judge) : judge(found);
  }

  #pass(view: RequestView, status: CacheStatus, key: string | undefined, variant = ""): undefined {
    const lookup: Lookup = { status, key, variant, isPersonal: this.#isPersonal(view) };
    view.setNote(this.#note, lookup);
    return undefined;
  }

  #isPersonal(view: RequestView): boolean {
    const caller = tokenCallerOf(view);
    if (caller !== undefined) return !this.#conf.consumer_isolation || caller.text === undefined;
    return view.headers.has("authorization") && !this.#isIdentified(view) && !this.#isIsolated(view);
  }

  /** The operator's own key says who asks: one that names nobody does not. */
  #isIdentified(view: RequestView): boolean {
    return this.#identities.some((read) => String(read(view) ?? "") !== "");
  }

  #isIsolated(view: RequestView): boolean {
    return this.#conf.consumer_isolation && view.consumer !== undefined && !this.#isIdentified(view);
  }

  /** Of routes with other guards nothing is shared, whatever their keys. A consumer may be a client with many users. */
  #keyOf(view: RequestView): string {
    const caller = this.#conf.consumer_isolation ? tokenCallerOf(view)?.text : undefined;
    const asks = this.#isIsolated(view) ? [view.consumer?.username ?? ""] : [];
    if (caller !== undefined) asks.push(view.consumer?.username ?? "", caller);
    const parts = this.#keyParts.map((read) => String(read(view) ?? ""));
    return nameOf([view.route?.id ?? "", String(asks.length), ...asks, ...parts]);
  }

  headerFilter(view: RequestView, response: ResponseView): void {
    const lookup = view.note(this.#note) as Lookup | undefined; // true: nobody else has that name
    if (lookup === undefined) return;
    // What failed on the way is no hit.
    if (lookup.key !== undefined) this.#collect(view, response, lookup, lookup.key);
    response.headers.set(STATUS_HEADER, lookup.status);
    if (!this.#conf.hide_cache_headers) return;
    response.headers.remove("cache-control");
    response.headers.remove("expires");
  }

  #collect(view: RequestView, response: ResponseView, { isPersonal, variant }: Lookup, key: string): void {
    const { source, status } = response;
    const isTouched =
      response.isChanged || response.replacement !== undefined || status !== view.upstream.statuses.at(-1);
    if (source !== "upstream" || isTouched || view.head.method === "HEAD" || !this.#statuses.has(status)) return;
    const headers = new HeaderList(response.receivedLines.slice());
    const directives = directivesOf(headers.getAll("cache-control"));
    const arrived = { status, headers, isPersonal, mayHaveCookies: this.#conf.cache_set_cookie };
    if (!mayKeep(arrived, directives) || isSet(this.#noCache, view)) return;
    const nowMs = this.#env.clock.nowMs();
    const ttlMs = this.#ttlMs(saidTtlMs(headers, directives, nowMs));
    if (ttlMs <= 0) return;
    headers.remove(STATUS_HEADER.toLowerCase());
    const request = new HeaderList(view.headers.lines.slice());
    response.observeBody(() =>
      this.#collector((body) => {
        const kept = { status, lines: headers.lines, body, storedMs: nowMs, ttlMs };
        void keepCached(this.#store, key, variant, request, kept, headers);
      }),
    );
  }

  #ttlMs(saidMs: number | undefined): number {
    const { cache_control: said, cache_strategy: strategy, cache_ttl: seconds } = this.#conf;
    if (strategy === "disk") return saidMs ?? diskTtlMs(this.#env);
    return said ? (saidMs ?? 0) : seconds * 1_000;
  }

  #collector(done: (body: Buffer) => void): BodyObserver {
    const memory = this.#collected.state;
    let pieces: Buffer[] | undefined = [];
    let bytes = 0;
    const forget = (): void => {
      memory.bytes -= bytes;
      bytes = 0;
      pieces = undefined;
    };
    return {
      write: (piece) => {
        if (pieces === undefined) return;
        pieces.push(piece);
        bytes += piece.length;
        memory.bytes += piece.length;
        if (bytes > this.#bodyMax || memory.bytes > COLLECTED_BYTES_MAX) forget();
      },
      end() {
        // A copy: pieces may be parts of larger reads.
        if (pieces) done(Buffer.concat(pieces, bytes));
      },
      close: forget,
    };
  }
}

/** The same bytes mean something else as another type or in another coding. */
function postVariant({ headers }: RequestView, body: Buffer): string {
  const [type, coding] = ["content-type", "content-encoding"].map((name) => JSON.stringify(headers.getAll(name)));
  return `POST ${createHash("sha256").update(body).digest("hex")} ${type} ${coding}`;
}

function compilePart(part: string): Variable {
  return part.startsWith("$") ? compileVariable(part.slice(1)) : () => part;
}

/** Anything but nothing and 0, all of it together. */
function isSet(parts: readonly Variable[], view: RequestView): boolean {
  const text = parts.map((read) => String(read(view) ?? "")).join("");
  return text !== "" && text !== "0";
}
