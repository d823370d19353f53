/**
 * CORS of the Admin API: as APISIX sends it to every page, or only to pages of the origins that the operator named.
 * Promise: a page that is not among them is told nothing that lets its browser show it an answer or send it a key.
 */
type Headers = Readonly<Record<string, string>>;

export interface Cors {
  /** What every answer to this `Origin` carries. */
  answer(origin: string | undefined): Headers;
  /** What OPTIONS is answered; undefined: as any other method. */
  preflight(origin: string | undefined): Headers | undefined;
}

const ANSWER: Headers = {
  "Access-Control-Allow-Origin": "*",
  "Access-Control-Allow-Credentials": "true",
  "Access-Control-Expose-Headers": "*",
  "Access-Control-Max-Age": "3600",
};

const PREFLIGHT: Headers = {
  "Access-Control-Allow-Origin": "*",
  "Access-Control-Allow-Methods": "POST, GET, PUT, OPTIONS, DELETE, PATCH",
  "Access-Control-Max-Age": "3600",
  "Access-Control-Allow-Headers": "*",
  "Access-Control-Allow-Credentials": "true",
  "Content-Type": "text/plain",
};

/** @param setting whether at all, or to which origins, in lower case */
export function openCors(setting: boolean | readonly string[]): Cors {
  if (setting === false) return { answer: () => NONE, preflight: () => undefined };
  if (setting === true) return { answer: () => ANSWER, preflight: () => PREFLIGHT };
  const origins = new Set(setting);
  const isNamed = (origin: string | undefined): origin is string =>
    origin !== undefined && origins.has(origin.toLowerCase());
  return {
    answer: (origin) => (isNamed(origin) ? { ...ANSWER, Vary: "Origin", "Access-Control-Allow-Origin": origin } : VARY),
    preflight: (origin) =>
      isNamed(origin)
        ? // Browsers take "*" literally where credentials are allowed.
          {
            ...PREFLIGHT,
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Headers": "X-API-KEY, Content-Type, If-Match",
          }
        : { "Content-Type": "text/plain" },
  };
}

const NONE: Headers = {};
const VARY: Headers = { Vary: "Origin" };
