/**
 * Settings that bound what one client may ask for.
 */
import { group, setting, switchable } from "./setting.ts";
import { duration, integer, size } from "./setting-kinds.ts";

/** A running node takes new values of all of them. */
const ANEW = { reload: "yes" } as const;

export const limits = group("Bounds on what one client may ask for.", {
  head_bytes: setting(size, "16KiB", "Largest request head.", ANEW),
  target_bytes: setting(size, "16KiB", "Longest request target (path and query).", ANEW),
  header_lines: setting(integer(1, 1_000), "100", "Most header lines of one request.", ANEW),
  body_bytes: switchable(size, "off", "Largest request body; larger ones are answered 413.", ANEW),
  head_timeout: setting(duration, "10s", "How long a client may take to send a request head.", ANEW),
  bodies_bytes: setting(
    size,
    "256MiB",
    "What the request bodies of one worker may hold in memory together; beyond it they are streamed, and 503 where a plugin wants one whole.",
    ANEW,
  ),
  body_total_timeout: setting(
    duration,
    "5m",
    "Longest time for a whole request body; each 16 KiB that came adds a second, so only slow ones meet it.",
    ANEW,
  ),
  body_timeout: setting(duration, "60s", "Longest pause inside a request body.", ANEW),
  send_timeout: setting(duration, "60s", "Longest pause of a client that reads an answer.", ANEW),
  idle_timeout: setting(
    duration,
    "75s",
    "How long an unused keep-alive connection stays open; longer than that of a load balancer in front, which is often 60 s.",
    ANEW,
  ),
  connections: setting(integer(1, 1_000_000), "16384", "Most client connections of one listener and worker.", ANEW),
  connections_per_address: switchable(
    integer(1, 1_000_000),
    "4096",
    "Most client connections from one address, `trusted_addresses` excepted.",
    ANEW,
  ),
  upstream_connections: setting(
    integer(1, 1_000_000),
    "16384",
    "Most connections of one worker to upstream nodes.",
    ANEW,
  ),
});
