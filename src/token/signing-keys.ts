/**
 * The authorization servers of this process and their keys, as records come, change and go.
 * Promise: who signs and what is published follows the time alone, without a timer and without a write; a key is shown by
 * its public members only. Source: docs/spec/tokens.md section 5.2.
 */
import { createHash, createPublicKey } from "node:crypto";
import type { Clock } from "../base/clock.ts";
import { type KeyPairAlgorithm, keyPairSigner, keyPairVerifier } from "../base/jose/algorithms.ts";
import { type PublicJwkMembers, readKeyPair } from "../base/jose/key-pair.ts";
import type { Metrics } from "../base/metrics.ts";
import { type AuthorizationServer as ServerRecord, termsOf } from "../model/authorization-server-record.ts";
import { type KeyRoles, type KeyTimes, rolesAt, type SigningKey, timesOf } from "../model/signing-key.ts";
import type {
  AuthorizationServer,
  AuthorizationServers,
  ExchangeTerms,
  PublishedKeys,
  SigningNow,
} from "../plugin/tokens.ts";
import { nonceSecret, openDpopNonces } from "./dpop-nonces.ts";
import { OwnIssuer, type OwnKey } from "./own-issuer.ts";

export interface SigningKeys extends AuthorizationServers {
  readonly serverCount: number;
  readonly keyCount: number;
  /** @param record undefined when it went */
  setServer(id: string, record: ServerRecord | undefined): void;
  /**
   * @param id `main/<kid>` @param record its reference resolved; undefined when it went
   * @throws CodedError RECORD_INVALID for a key that cannot be used; the former one stays
   */
  setKey(id: string, record: SigningKey | undefined): void;
  /** Rises with every record of a server that comes, changes or goes. */
  readonly generation: number;
  /** As an issuer whose tokens can be accepted. A changed record is another object. */
  issuer(id: string): OwnIssuer | undefined;
  /** The keys that sign now. */
  signers(): readonly SignerState[];
  /** What the operator should know now. */
  problems(): readonly ServerProblem[];
}

interface SignerState {
  /** Id of the authorization server. */
  readonly id: string;
  readonly algorithm: KeyPairAlgorithm;
  /** Until its time to sign is over, below 0 afterwards; undefined: until another follows. */
  readonly leftSeconds: number | undefined;
  readonly isOverdue: boolean;
}

interface ServerProblem {
  /** Id of the authorization server. */
  readonly id: string;
  readonly message: string;
}

interface HeldKey extends KeyTimes, OwnKey {
  readonly publicJwk: PublicJwkMembers;
  readonly signing: SigningNow;
  readonly nonceSecret: Buffer;
}

/** All keys of one server; outlives its record, as the two may come in any order. */
interface Ring {
  readonly keys: Map<string, HeldKey>;
  now: RingNow | undefined;
}

/** Good from one second until another. */
interface RingNow {
  readonly from: number;
  readonly until: number;
  readonly roles: ReadonlyMap<KeyPairAlgorithm, KeyRoles<HeldKey>>;
  readonly published: PublishedKeys;
  readonly verifying: ReadonlySet<HeldKey>;
}

export function openSigningKeys(clock: Clock): SigningKeys {
  const servers = new Map<string, AuthorizationServer>();
  const issuers = new Map<string, OwnIssuer>();
  const rings = new Map<string, Ring>();
  let generation = 0;

  const ringOf = (id: string): Ring => {
    const ring = rings.get(id) ?? { keys: new Map(), now: undefined };
    rings.set(id, ring);
    return ring;
  };
  const nowOf = (id: string): RingNow => {
    const ring = ringOf(id);
    const second = Math.floor(clock.nowMs() / 1_000);
    if (ring.now === undefined || second < ring.now.from || second >= ring.now.until) {
      ring.now = judge([...ring.keys.values()], second, ring.now?.published);
    }
    return ring.now;
  };
  const secretOf = (id: string, { algorithms: [algorithm = "ES256"] = [] }: ServerRecord): Buffer | undefined =>
    nowOf(id).roles.get(algorithm)?.signer?.nonceSecret;
  const forget = (id: string): void => {
    if (!servers.has(id) && rings.get(id)?.keys.size === 0) rings.delete(id);
  };

  return {
    get: (id) => servers.get(id),
    get serverCount() {
      return servers.size;
    },
    get keyCount() {
      return [...rings.values()].reduce((sum, { keys }) => sum + keys.size, 0);
    },
    get generation() {
      return generation;
    },
    issuer: (id) => issuers.get(id),
    setServer(id, record) {
      generation++;
      issuers.get(id)?.retire();
      issuers.delete(id);
      if (record) issuers.set(id, new OwnIssuer(id, record.issuer, () => nowOf(id).verifying));
      if (record === undefined) {
        servers.delete(id);
        forget(id);
        return;
      }
      servers.set(id, {
        id,
        terms: termsOf(record),
        defaultAudience: record.default_audience,
        scopesSupported: record.scopes_supported,
        exchange: exchangeOf(record),
        assertionAudience: record.client_assertion_audience,
        isAssertionOnce: record.assertion_replay === "cluster",
        dpopNonces: record.dpop_nonce === true ? openDpopNonces(() => secretOf(id, record), clock) : undefined,
        signer: (algorithm) => nowOf(id).roles.get(algorithm)?.signer?.signing,
        published: () => nowOf(id).published,
      });
    },
    setKey(id, record) {
      const slash = id.indexOf("/");
      const [server, kid] = [id.slice(0, slash), id.slice(slash + 1)];
      const ring = ringOf(server);
      if (record === undefined) ring.keys.delete(kid);
      else ring.keys.set(kid, heldKey(kid, record));
      ring.now = undefined;
      forget(server);
    },
    signers() {
      const now = clock.nowMs() / 1_000;
      return [...servers.values()].flatMap(({ id, terms }) =>
        terms.algorithms.flatMap((algorithm) => {
          const { signer, isOverdue = false } = nowOf(id).roles.get(algorithm) ?? {};
          const until = signer?.signUntil;
          return signer ? [{ id, algorithm, isOverdue, leftSeconds: until === undefined ? until : until - now }] : [];
        }),
      );
    },
    problems() {
      const found: ServerProblem[] = [];
      for (const { id, terms } of servers.values()) {
        for (const algorithm of terms.algorithms) {
          const roles = nowOf(id).roles.get(algorithm);
          if (roles?.signer === undefined) found.push({ id, message: `no key signs ${algorithm}: tokens are refused` });
          else if (roles.isOverdue)
            found.push({
              id,
              message: `the ${algorithm} key ${roles.signer.kid} signs beyond its time: no admin has made another`,
            });
        }
      }
      return found;
    },
  };
}

/** How long keys of ours go on signing, read at scrape time. */
export function countSigners(metrics: Metrics, keys: Pick<SigningKeys, "signers">): void {
  metrics.gaugeOf(
    "jotgate_signing_key_expiry_seconds",
    "Until the key that signs is to be followed by another; below 0: it is overdue",
    ["authorization_server", "algorithm"],
    () =>
      keys
        .signers()
        .flatMap(({ id, algorithm, leftSeconds }) =>
          leftSeconds === undefined ? [] : [{ labels: [id, algorithm], value: leftSeconds }],
        ),
    "min",
  );
  metrics.gaugeOf(
    "jotgate_signing_key_overdue",
    "Keys that sign beyond their time, as no admin has made another",
    [],
    () => [{ labels: [], value: keys.signers().filter(({ isOverdue }) => isOverdue).length }],
    "max",
  );
}

function exchangeOf({ token_exchange: exchange }: ServerRecord): ExchangeTerms | undefined {
  if (!exchange?.enabled) return undefined;
  const { issuers = [], federated = [], subject_audiences: audiences, delegation: delegates = false } = exchange;
  return { issuers, federated, audiences: new Set(audiences), delegates };
}

function heldKey(kid: string, record: SigningKey): HeldKey {
  const { algorithm } = record;
  const { key, publicJwk } = readKeyPair(algorithm, record.private_key);
  const header = Buffer.from(JSON.stringify({ alg: algorithm, typ: "at+jwt", kid }), "utf8").toString("base64url");
  return {
    ...timesOf(kid, record),
    publicJwk,
    verifier: keyPairVerifier(algorithm, createPublicKey(key)),
    nonceSecret: nonceSecret(key),
    signing: { ...keyPairSigner(algorithm, key), kid, algorithm, header },
  };
}

/** @param former kept where its content is still right, so that it stays the same object */
function judge(keys: readonly HeldKey[], second: number, former: PublishedKeys | undefined): RingNow {
  const roles = new Map<KeyPairAlgorithm, KeyRoles<HeldKey>>();
  for (const { algorithm } of keys) {
    if (roles.has(algorithm)) continue;
    roles.set(
      algorithm,
      rolesAt(
        keys.filter((key) => key.algorithm === algorithm),
        second,
      ),
    );
  }
  const all = [...roles.values()];
  const published = all
    .flatMap(({ verifying }) => verifying)
    .sort((one, other) => one.publishAt - other.publishAt || (one.kid < other.kid ? -1 : 1))
    .map(({ publicJwk }) => publicJwk);
  const body = Buffer.from(JSON.stringify({ keys: published }), "utf8");
  const until = Math.min(...all.map((one) => one.until ?? Number.POSITIVE_INFINITY));
  return {
    from: second,
    until,
    roles,
    verifying: new Set(all.flatMap(({ verifying }) => verifying)),
    published: former?.body.equals(body) ? former : { body, etag: etagOf(body) },
  };
}

function etagOf(body: Buffer): string {
  return `"${createHash("sha256").update(body).digest("base64url").slice(0, 22)}"`;
}
