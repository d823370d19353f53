/**
 * The state machine of one target's health: healthy -> mostly_healthy -> unhealthy -> mostly_unhealthy -> healthy.
 * A success clears the failure counts and the other way round; whichever count reaches its threshold flips the state.
 * Source: docs/spec/proxy.md section 6 (lua-resty-healthcheck). Pure: no clock, no I/O.
 */
export type HealthStatus = "healthy" | "mostly_healthy" | "unhealthy" | "mostly_unhealthy";
export type ProbeFailure = "http" | "tcp" | "timeout";

export interface HealthCounter {
  readonly success: number;
  readonly http_failure: number;
  readonly tcp_failure: number;
  readonly timeout_failure: number;
}

export class HealthState {
  #status: HealthStatus = "healthy";
  #success = 0;
  #http = 0;
  #tcp = 0;
  #timeout = 0;

  /** @param former state of the same target under other checks, to go on from */
  constructor(former?: HealthState) {
    if (!former) return;
    this.#status = former.#status;
    this.#success = former.#success;
    this.#http = former.#http;
    this.#tcp = former.#tcp;
    this.#timeout = former.#timeout;
  }

  get status(): HealthStatus {
    return this.#status;
  }

  /** Whether it may get traffic. */
  get isUsable(): boolean {
    return this.#status === "healthy" || this.#status === "mostly_healthy";
  }

  /** Whether this would change anything. */
  minds(kind: "success" | ProbeFailure): boolean {
    return this.#status !== (kind === "success" ? "healthy" : "unhealthy");
  }

  get counter(): HealthCounter {
    return {
      success: this.#success,
      http_failure: this.#http,
      tcp_failure: this.#tcp,
      timeout_failure: this.#timeout,
    };
  }

  /** @param threshold 0 ignores successes. Cost: two comparisons for a healthy target */
  succeed(threshold: number): void {
    if (threshold === 0 || this.#status === "healthy") return;
    this.#success++;
    this.#http = 0;
    this.#tcp = 0;
    this.#timeout = 0;
    if (this.#success >= threshold) this.#status = "healthy";
    else if (this.#status === "unhealthy") this.#status = "mostly_unhealthy";
  }

  /** @param threshold 0 ignores this kind of failure */
  fail(kind: ProbeFailure, threshold: number): void {
    if (threshold === 0 || this.#status === "unhealthy") return;
    this.#success = 0;
    if (this.#count(kind) >= threshold) this.#status = "unhealthy";
    else if (this.#status === "healthy") this.#status = "mostly_healthy";
  }

  #count(kind: ProbeFailure): number {
    switch (kind) {
      case "http":
        return ++this.#http;
      case "tcp":
        return ++this.#tcp;
      case "timeout":
        return ++this.#timeout;
    }
  }
}
