/**
 * Keys of issuers fetched once per node: the primary keeps them, workers are told of each good set and ask for keys that
 * they do not know.
 * Promise: a worker asks once at a time for an issuer, and not again before the primary could fetch again.
 */
import { LRUCache } from "lru-cache";
import { type Static, Type } from "typebox";
import { type Call, type Channel, reader, type Tell } from "../../base/channel.ts";
import { type Clock, sleep } from "../../base/clock.ts";
import type { Metrics } from "../../base/metrics.ts";
import type { TokenIssuer } from "../../model/token-issuer.ts";
import type { HeldKeys, KeyFeed } from "../../token/key-feed.ts";
import { NO_KID, REFUSED_MAX, WAIT_MS, WAITERS_MAX } from "../../token/key-keeper.ts";
import type { KeyKeepers } from "../../token/key-keepers.ts";
import { countForced } from "../../token/key-metrics.ts";
import { isUnnamed, UNUSED_MS } from "../../token/unnamed-issuers.ts";

const Id = Type.String({ maxLength: 256 });
const Held = Type.Object({
  source: Type.String({ maxLength: 64 }),
  jwks: Type.String({ maxLength: 4_194_304 }),
  fetchedAtMs: Type.Number(),
  from: Type.String({ maxLength: 65_536 }),
  issuer: Type.Optional(Type.String({ maxLength: 2_048 })),
});
const Wanted = Type.Object({
  issuer: Id,
  /** null: the token has none. */
  kid: Type.Union([Type.Null(), Type.String({ maxLength: 65_536 })]),
  /** False: only what is held now. */
  fetch: Type.Boolean(),
});
const Answer = Type.Object({
  held: Type.Union([Type.Null(), Held]),
  /** Until a fetch may be asked for again. */
  retryMs: Type.Number({ minimum: 0 }),
  /** The issuer was asked for this kid since its last good set, and does not have it. */
  refused: Type.Boolean(),
});

const JWKS_WANTED: Call<Static<typeof Wanted>, Static<typeof Answer>> = {
  name: "jwks-wanted",
  body: reader(Wanted),
  reply: reader(Answer),
};
const JWKS_HELD: Tell<{ readonly issuer: string; readonly held: HeldKeys }> = {
  name: "jwks-held",
  body: reader(Type.Object({ issuer: Id, held: Held })),
};
const JWKS_DOUBTED: Tell<{ readonly issuer: string }> = {
  name: "jwks-doubted",
  body: reader(Type.Object({ issuer: Id })),
};

/** An issuer without a record, of which the primary learns by this only; null: that worker no longer needs it. */
const ISSUER_FOLLOWED: Tell<{ readonly issuer: string; readonly record: TokenIssuer | null }> = {
  name: "issuer-followed",
  body: reader(
    Type.Object({
      issuer: Id,
      record: Type.Union([Type.Null(), Type.Unsafe<TokenIssuer>({ type: "object", required: ["issuer"] })]),
    }),
  ),
};

/** Issuers without a record, in the primary: followed while a worker does, and for a minute after the last of them ended. */
export class WorkersIssuers {
  readonly #keepers: Pick<KeyKeepers, "follow">;
  readonly #clock: Clock;
  readonly #holders = new Map<string, Set<Channel>>();

  constructor(keepers: Pick<KeyKeepers, "follow">, clock: Clock) {
    this.#keepers = keepers;
    this.#clock = clock;
  }

  serve(channel: Channel): void {
    channel.onTell(ISSUER_FOLLOWED, ({ issuer, record }) => {
      const holders = this.#holders.get(issuer);
      if (record === null) {
        if (holders?.delete(channel)) this.#sweep();
      } else if (holders) holders.add(channel);
      else {
        this.#holders.set(issuer, new Set([channel]));
        this.#keepers.follow(issuer, record);
      }
    });
  }

  /** The worker has ended; another one may take its place. */
  leave(channel: Channel): void {
    for (const holders of this.#holders.values()) holders.delete(channel);
    this.#clock.after(UNUSED_MS, () => this.#sweep());
  }

  #sweep(): void {
    for (const [id, holders] of this.#holders) {
      if (holders.size > 0) continue;
      this.#holders.delete(id);
      this.#keepers.follow(id, undefined);
    }
  }
}

/** The primary's side, for one worker. */
export function serveKeys(channel: Channel, keepers: KeyKeepers): void {
  channel.onCall(JWKS_WANTED, async ({ issuer, kid, fetch }) => {
    const name = kid ?? undefined;
    if (fetch) await keepers.wanted(issuer, name);
    const [retryMs, refused] = [keepers.cooldownLeftMs(issuer), keepers.isRefused(issuer, name)];
    return { held: keepers.held(issuer) ?? null, retryMs, refused };
  });
  channel.onTell(JWKS_DOUBTED, ({ issuer }) => keepers.doubted(issuer, undefined));
}

export function tellKeys(channel: Channel, issuer: string, held: HeldKeys | undefined): void {
  if (held) channel.tell(JWKS_HELD, { issuer, held });
}

interface Known {
  held: HeldKeys | undefined;
  flight: Promise<void> | undefined;
  waiters: number;
  /** Monotonic; the primary would not fetch before. */
  closedUntilMs: number;
  readonly refused: LRUCache<string, true>;
}

/** Beyond what the primary waits itself. */
const ANSWER_MS = WAIT_MS + 500;
/** Where the primary had nothing to wait for: it may not know the record yet. */
const ASK_AGAIN_MS = 20;

/** A worker's side. */
export class AskedKeys implements KeyFeed {
  readonly #channel: Channel;
  readonly #clock: Clock;
  readonly #known = new Map<string, Known>();
  readonly #forced: (issuer: string) => (result: "fetched" | "cooldown" | "refused") => void;
  #listener: (id: string) => void = () => undefined;

  constructor(channel: Channel, clock: Clock, metrics: Metrics) {
    this.#channel = channel;
    this.#clock = clock;
    this.#forced = countForced(metrics);
    channel.onTell(JWKS_HELD, ({ issuer, held }) => this.#take(issuer, held));
  }

  follow(id: string, record: TokenIssuer | undefined): void {
    if (record === undefined) {
      if (isUnnamed(id) && this.#known.has(id)) this.#channel.tell(ISSUER_FOLLOWED, { issuer: id, record: null });
      this.#known.delete(id);
      return;
    }
    if (isUnnamed(id)) this.#channel.tell(ISSUER_FOLLOWED, { issuer: id, record });
    const known = this.#known.get(id) ?? newKnown();
    known.closedUntilMs = 0;
    known.refused.clear();
    this.#known.set(id, known);
    void this.#ask(id, known, undefined, false);
  }

  held(id: string): HeldKeys | undefined {
    return this.#known.get(id)?.held;
  }

  wanted(id: string, kid: string | undefined): Promise<void> | undefined {
    const known = this.#known.get(id);
    if (!known) return undefined;
    if (known.flight === undefined) {
      if (known.refused.has(kid ?? NO_KID)) return this.#refuse(id, "refused");
      if (this.#clock.monotonicMs() < known.closedUntilMs) return this.#refuse(id, "cooldown");
      known.waiters = 0;
      known.flight = this.#ask(id, known, kid, true).finally(() => {
        known.flight = undefined;
      });
    }
    if (known.waiters >= WAITERS_MAX) return undefined;
    known.waiters++;
    return known.flight;
  }

  doubted(id: string): void {
    const known = this.#known.get(id);
    if (!known || this.#clock.monotonicMs() < known.closedUntilMs) return;
    known.closedUntilMs = this.#clock.monotonicMs() + ASK_AGAIN_MS;
    this.#channel.tell(JWKS_DOUBTED, { issuer: id });
  }

  onHeld(listener: (id: string) => void): void {
    this.#listener = listener;
  }

  #refuse(id: string, why: "refused" | "cooldown"): undefined {
    this.#forced(id)(why);
    return undefined;
  }

  /** Never rejects, and ends after 2 s. */
  async #ask(id: string, known: Known, kid: string | undefined, fetch: boolean): Promise<void> {
    const asked = this.#channel.call(JWKS_WANTED, { issuer: id, kid: kid ?? null, fetch }, ANSWER_MS).then(
      ({ held, retryMs, refused }) => {
        if (held) this.#take(id, held);
        if (!fetch) return;
        if (refused) known.refused.set(kid ?? NO_KID, true);
        known.closedUntilMs = this.#clock.monotonicMs() + (refused ? retryMs : Math.max(retryMs, ASK_AGAIN_MS));
      },
      () => {
        known.closedUntilMs = this.#clock.monotonicMs() + ASK_AGAIN_MS;
      },
    );
    await Promise.race([asked, sleep(this.#clock, WAIT_MS)]);
  }

  #take(id: string, held: HeldKeys): void {
    const known = this.#known.get(id);
    if (!known || (known.held && known.held.fetchedAtMs > held.fetchedAtMs && known.held.source === held.source))
      return;
    if (known.held?.fetchedAtMs !== held.fetchedAtMs) known.refused.clear();
    known.held = held;
    this.#listener(id);
  }
}

function newKnown(): Known {
  return {
    held: undefined,
    flight: undefined,
    waiters: 0,
    closedUntilMs: 0,
    refused: new LRUCache({ max: REFUSED_MAX }),
  };
}
