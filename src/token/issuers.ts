/**
 * The issuers of tokens in one process: records in, answers for plugins out.
 * Promise: every answer is a look-up in memory; a changed record is another issuer, and none of the former's keys counts.
 * Source: docs/spec/tokens.md sections 2 and 3.
 */
import { hash } from "node:crypto";
import { LRUCache } from "lru-cache";
import type { Clock } from "../base/clock.ts";
import type { Claims } from "../base/jose/token.ts";
import { type TokenIssuer as IssuerRecord, issuersOf, TENANT } from "../model/token-issuer.ts";
import { type IssuerIds, type TokenIssuer, type TokenIssuers, type Tokens, UNNAMED_MAX } from "../plugin/tokens.ts";
import type { KeyFeed } from "./key-feed.ts";
import { LiveIssuer } from "./live-issuer.ts";
import { UnnamedIssuers } from "./unnamed-issuers.ts";

export interface LiveIssuers extends Tokens {
  readonly count: number;
  /** @param record satisfies its schema and checks; undefined: it is gone */
  setRecord(id: string, record: Readonly<Record<string, unknown>> | undefined): void;
  close(): void;
}

/** Issuers that are us; see signing-keys.ts. */
interface OwnIssuers {
  readonly generation: number;
  issuer(id: string): TokenIssuer | undefined;
}

const NONE_OF_OURS: OwnIssuers = { generation: 0, issuer: () => undefined };

export function openIssuers(feed: KeyFeed, clock: Clock, ours: OwnIssuers = NONE_OF_OURS): LiveIssuers {
  const issuers = new Map<string, LiveIssuer>();
  const texts = new Map<string, string>();
  let generation = 0;
  const unnamed = new UnnamedIssuers(feed, clock);
  /** Keys at addresses; whoever was asked for longest ago makes room. */
  const lists = new LRUCache<string, LiveIssuer>({
    max: UNNAMED_MAX,
    dispose(list, id) {
      list.retire();
      feed.follow(id, undefined);
    },
  });
  const listOf = (id: string, record: IssuerRecord): LiveIssuer => {
    const known = lists.get(id);
    if (known) return known;
    const list = new LiveIssuer(id, record, feed, clock);
    lists.set(id, list);
    feed.follow(id, record);
    list.take(feed.held(id));
    return list;
  };
  feed.onHeld((id) => (issuers.get(id) ?? unnamed.get(id) ?? lists.peek(id))?.take(feed.held(id)));

  return {
    get count() {
      return issuers.size;
    },
    setRecord(id, value) {
      const text = value && JSON.stringify(value);
      const record = value as IssuerRecord | undefined; // by its schema
      const before = issuers.get(id);
      const isFetched = record !== undefined && record.jwks === undefined && record.public_key === undefined;
      // The same again asks for its keys anew and changes nothing else.
      if (text === undefined || text !== texts.get(id)) {
        generation++;
        before?.retire();
        if (record === undefined || text === undefined) {
          issuers.delete(id);
          texts.delete(id);
        } else {
          issuers.set(id, new LiveIssuer(id, record, feed, clock));
          texts.set(id, text);
        }
      }
      feed.follow(id, isFetched ? record : undefined);
      if (isFetched) issuers.get(id)?.take(feed.held(id));
    },
    issuers: (ids: IssuerIds) => new Group(ids, issuers, ours, () => generation + ours.generation),
    unnamed: (settings) => unnamed.hold(settings),
    keysAt(uri) {
      const id = `jwks:${hash("sha256", uri, "hex").slice(0, 16)}`; // no id of a record has a colon
      const record = { issuer: uri, jwks_uri: uri };
      return {
        keys: (algorithm, kid) => listOf(id, record).keys(algorithm, kid),
        wanted: (kid) => listOf(id, record).wanted(kid),
        doubted: (kid) => listOf(id, record).doubted(kid),
      };
    },
    close() {
      lists.clear();
      unnamed.close();
      for (const issuer of issuers.values()) issuer.retire();
      issuers.clear();
    },
  };
}

interface Template {
  readonly before: string;
  readonly after: string;
  /** Lower case; undefined: any. */
  readonly tenants: ReadonlySet<string> | undefined;
  readonly issuer: LiveIssuer;
}

const TENANT_ID = /^[0-9a-fA-F-]{36}$/;

/** Issuers that a configuration names, put in order again when a record has changed. */
class Group implements TokenIssuers {
  readonly #ids: IssuerIds;
  readonly #ours: OwnIssuers;
  readonly #all: ReadonlyMap<string, LiveIssuer>;
  readonly #now: () => number;
  #generation = -1;
  readonly #literal = new Map<string, TokenIssuer>();
  #templates: readonly Template[] = [];
  #names: readonly string[] = [];

  constructor(ids: IssuerIds, all: ReadonlyMap<string, LiveIssuer>, ours: OwnIssuers, now: () => number) {
    this.#ids = ids;
    this.#ours = ours;
    this.#all = all;
    this.#now = now;
  }

  find(claims: Claims): TokenIssuer | undefined {
    const now = this.#now();
    if (now !== this.#generation) this.#sort(now);
    const { iss } = claims;
    if (typeof iss !== "string") return undefined;
    return this.#literal.get(iss) ?? (this.#templates.length > 0 ? this.#findTenant(iss, claims["tid"]) : undefined);
  }

  names(): readonly string[] {
    const now = this.#now();
    if (now !== this.#generation) this.#sort(now);
    return this.#names;
  }

  #findTenant(iss: string, tid: unknown): LiveIssuer | undefined {
    if (typeof tid !== "string" || !TENANT_ID.test(tid)) return undefined;
    const tenant = tid.toLowerCase();
    return this.#templates.find(
      ({ before, after, tenants }) =>
        (tenants === undefined || tenants.has(tenant)) && iss === `${before}${tid}${after}`,
    )?.issuer;
  }

  #sort(generation: number): void {
    this.#generation = generation;
    this.#literal.clear();
    const templates: Template[] = [];
    const names = new Set<string>();
    for (const id of this.#ids.authorizationServers ?? []) {
      const own = this.#ours.issuer(id);
      if (!own) continue;
      this.#literal.set(own.issuer, own);
      names.add(own.issuer);
    }
    for (const id of this.#ids.issuers ?? []) {
      const issuer = this.#all.get(id);
      if (!issuer) continue;
      names.add(issuer.issuer);
      const { tenants = [] } = issuer.record;
      for (const text of issuersOf(issuer.record)) {
        const [before = "", after] = text.split(TENANT);
        if (after === undefined) this.#literal.set(text, issuer);
        else {
          const known = tenants.includes("*") ? undefined : new Set(tenants.map((one) => one.toLowerCase()));
          templates.push({ before, after, tenants: known, issuer });
        }
      }
    }
    this.#templates = templates;
    this.#names = [...names];
  }
}
