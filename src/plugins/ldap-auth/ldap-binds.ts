/**
 * Asks an LDAP server whether a password is somebody's, by a simple bind: over a few connections that are kept, one bind at a
 * time on each. Promise: nothing of an answer is remembered; a server that hangs costs a caller its time and nobody memory.
 */
import { connect as connectPlain, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type { Client } from "ldapts";
import type { Clock, Timer } from "../../base/clock.ts";
import { CodedError, messageOf } from "../../base/errors.ts";
import { library } from "../shared/library.ts";

export interface LdapServer {
  /** `ldap://host:389` or `ldaps://host:636` */
  readonly url: string;
  readonly verifyTls: boolean;
}

const CONNECTIONS_MAX = 16;
const WAITING_MAX = 1_024;
/** Of one bind, the connection to it included; and of the wait for a connection. */
const TIMEOUT_MS = 10_000;
const IDLE_MS = 60_000;

/** Results by which the server says that it could not judge, not that somebody is wrong (RFC 4511 appendix A). */
const NOT_JUDGED: ReadonlySet<number> = new Set([1, 2, 51, 52, 80]);

export class LdapBinds {
  readonly #server: LdapServer;
  readonly #clock: Clock;
  /** Those that nobody uses now, the one used last at the end. */
  readonly #idle: Link[] = [];
  readonly #waiting: ((link: Link) => void)[] = [];
  #open = 0;
  #isClosed = false;

  constructor(server: LdapServer, clock: Clock) {
    this.#server = server;
    this.#clock = clock;
  }

  /**
   * Whether it is that user's password. @param password not empty: without one anybody may bind (RFC 4513 section 5.1.2)
   * @throws CodedError PLUGIN_FAILED where the server does not say
   */
  async check(dn: string, password: string): Promise<boolean> {
    let link = await this.#take();
    try {
      if (!link.isOpen) return await link.bind(dn, password);
      try {
        return await link.bind(dn, password);
      } catch (error) {
        if (link.isLate) throw error;
        // It was closed in the moment in which it was used; a new one knows.
        link.drop();
        link = this.#newLink();
        return await link.bind(dn, password);
      }
    } catch (error) {
      link.drop();
      throw new CodedError("PLUGIN_FAILED", { message: `${this.#server.url}: ${messageOf(error)}` });
    } finally {
      this.#giveBack(link);
    }
  }

  /** Binds under way go on; nothing is kept after them. */
  close(): void {
    this.#isClosed = true;
    for (const link of this.#idle.splice(0)) link.drop();
  }

  #newLink(): Link {
    return new Link(this.#server, this.#clock);
  }

  #take(): Promise<Link> {
    const kept = this.#idle.pop();
    if (kept) return Promise.resolve(kept);
    if (this.#open < CONNECTIONS_MAX) {
      this.#open++;
      return Promise.resolve(this.#newLink());
    }
    if (this.#waiting.length >= WAITING_MAX) return Promise.reject(busy("too many callers wait for it"));
    return new Promise((resolve, reject) => {
      const turn = (link: Link): void => {
        timer.cancel();
        resolve(link);
      };
      const timer = this.#clock.after(TIMEOUT_MS, () => {
        this.#waiting.splice(this.#waiting.indexOf(turn), 1);
        reject(busy("no connection became free in time"));
      });
      this.#waiting.push(turn);
    });
  }

  #giveBack(link: Link): void {
    const next = this.#waiting.shift();
    if (next) {
      next(link.isOpen ? link : this.#newLink());
    } else if (!this.#isClosed && link.isOpen) {
      this.#idle.push(link);
      link.rest(() => {
        this.#idle.splice(this.#idle.indexOf(link), 1);
        this.#open--;
      });
    } else {
      link.drop();
      this.#open--;
    }
  }
}

function busy(why: string): CodedError {
  return new CodedError("PLUGIN_FAILED", { message: why });
}

/** One connection, made when it is needed. */
class Link {
  isLate = false;
  readonly #client: Client;
  readonly #clock: Clock;
  #socket: Socket | undefined;
  #resting: Timer | undefined;
  #isDropped = false;

  constructor({ url, verifyTls }: LdapServer, clock: Clock) {
    this.#clock = clock;
    const { Client } = library<typeof import("ldapts")>("ldapts");
    const keep = <Made extends Socket>(socket: Made): Made => {
      this.#socket = socket;
      return socket;
    };
    this.#client = new Client({
      url,
      ...(url.startsWith("ldaps:") ? { tlsOptions: { rejectUnauthorized: verifyTls } } : {}),
      createConnection: ((...given: Parameters<typeof connectPlain>) =>
        keep(connectPlain(...given))) as typeof connectPlain,
      createSecureConnection: ((...given: Parameters<typeof connectTls>) =>
        keep(connectTls(...given))) as typeof connectTls,
    });
  }

  /** Whether a connection is there, which was used before. */
  get isOpen(): boolean {
    return !this.#isDropped && this.#client.isConnected;
  }

  async bind(dn: string, password: string): Promise<boolean> {
    this.#resting?.cancel();
    this.#resting = undefined;
    const timer = this.#clock.after(TIMEOUT_MS, () => {
      this.isLate = true;
      this.#socket?.destroy(new Error(`no answer within ${TIMEOUT_MS} ms`));
    });
    try {
      await this.#client.bind(dn, password);
      return true;
    } catch (error) {
      const { code } = error as { readonly code?: unknown };
      if (typeof code === "number" && !NOT_JUDGED.has(code)) return false;
      throw error;
    } finally {
      timer.cancel();
    }
  }

  /** @param ended called when it was not used for long and is closed */
  rest(ended: () => void): void {
    this.#resting = this.#clock.after(IDLE_MS, () => {
      this.drop();
      ended();
    });
    this.#socket?.unref(); // it holds no process
  }

  drop(): void {
    this.#isDropped = true;
    this.#resting?.cancel();
    this.#socket?.destroy();
  }
}
