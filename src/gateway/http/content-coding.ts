/**
 * Content codings of responses, chosen by what the client accepts. Source: RFC 9110 sections 8.4, 8.8.1, 12.5.3 and 12.5.5.
 * Promise: a body that is coded, is a part of one, or may not be transformed (RFC 9111 section 5.2.2.6) is left alone.
 */
import type { BodyTransform, ContentCoding } from "../../plugin/body-stages.ts";
import type { HeaderList } from "../../plugin/headers.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import type { ResponseView } from "../../plugin/response-view.ts";

/** Where no body is sent, but its head is shown. */
const UNOPENED: BodyTransform = {
  open() {
    throw new TypeError("a response without a body has no stages");
  },
};
/** Elements of Accept-Encoding that are read. */
const ELEMENTS_MAX = 64;
const ELEMENT = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+)(?:[ \t]*;[ \t]*[qQ]=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?))?$/;
const ETAG = /^(W\/)?("[\x21\x23-\x7e\x80-\xff]*")$/;
/** Of the bytes as the upstream sent them. */
const DESCRIBES_BYTES = ["accept-ranges", "content-md5", "content-digest", "digest"];

/**
 * Adds the coding that the client prefers to the stages of a response, and says so in its head.
 * @param length of the body, where it is known
 */
export function chooseCoding(view: RequestView, response: ResponseView, length: number | undefined): void {
  const { codings, headers, status } = response;
  if (status === 304) {
    if (codings.some(({ vary }) => vary)) addVary(headers);
    return;
  }
  const isPart = status === 206 || headers.has("content-range");
  if (status < 200 || status === 204 || isPart || isCoded(headers) || mustNotTransform(headers)) return;
  const eligible = codings.filter((coding) => coding.isFor(view, response, length));
  if (eligible.some(({ vary }) => vary)) addVary(headers);
  const accepted = qualities(view.head.headers.getAll("accept-encoding"));
  const chosen = preferred(eligible, accepted);
  if (chosen === undefined || !chosen.hasRoom(length)) return;
  headers.set("Content-Encoding", chosen.name);
  for (const name of DESCRIBES_BYTES) headers.remove(name);
  weaken(headers);
  response.stages = [...response.stages, view.head.method === "HEAD" ? UNOPENED : chosen.transform];
  response.isChanged = true;
}

/** Of those with the highest quality the first. Whom the plain body suits better gets it. */
function preferred(
  codings: readonly ContentCoding[],
  accepted: ReadonlyMap<string, number>,
): ContentCoding | undefined {
  let best: ContentCoding | undefined;
  let bestQuality = accepted.get("identity") ?? 0;
  for (const coding of codings) {
    const quality = accepted.get(coding.name) ?? accepted.get("*") ?? 0;
    if (quality === 0 || (best ? quality <= bestQuality : quality < bestQuality)) continue;
    best = coding;
    bestQuality = quality;
  }
  return best;
}

/** Quality by coding, names in lower case; what is no element of Accept-Encoding says nothing. */
function qualities(lines: readonly string[]): Map<string, number> {
  const found = new Map<string, number>();
  for (const element of lines.join(",").split(",", ELEMENTS_MAX)) {
    const [, name, quality] = ELEMENT.exec(element.trim()) ?? [];
    if (name === undefined) continue;
    const lower = name.toLowerCase();
    found.set(lower === "x-gzip" ? "gzip" : lower, quality === undefined ? 1 : Number(quality));
  }
  return found;
}

function isCoded(headers: HeaderList): boolean {
  return headers.getAll("content-encoding").some((value) => value.toLowerCase() !== "identity");
}

function mustNotTransform(headers: HeaderList): boolean {
  return headers.getAll("cache-control").some((line) => /(?:^|[\s,])no-transform(?:$|[\s,])/i.test(line));
}

function addVary(headers: HeaderList): void {
  const names = headers.getAll("vary").flatMap((line) => line.toLowerCase().split(","));
  if (!names.some((name) => name.trim() === "accept-encoding" || name.trim() === "*"))
    headers.append("Vary", "Accept-Encoding");
}

/** The coded bytes differ from time to time: the tag is good for comparison of meaning only. */
function weaken(headers: HeaderList): void {
  const tag = headers.get("etag");
  if (tag === undefined) return;
  const [, weak, text] = ETAG.exec(tag) ?? [];
  if (text === undefined) headers.remove("etag");
  else if (weak === undefined) headers.set("ETag", `W/${text}`);
}
