import type { Answer } from "./plugin-answer.ts";
import type { RequestView } from "./request-view.ts";

/** An API of a plugin that is served only through the public-api plugin. */
export interface InternalApi {
  readonly methods: readonly string[];
  /** One of its segments may be `*`, any text without a slash. */
  readonly path: string;
  /** @param path that it was found by */
  handle(view: RequestView, path: string): Answer | Promise<Answer>;
}

/** The APIs by their paths. */
export function internalApisOf(apis: readonly InternalApi[]): (path: string) => InternalApi | undefined {
  const exact = new Map(apis.map((api) => [api.path, api]));
  const patterns = apis.flatMap((api) => {
    const [before, after] = api.path.split("/*/");
    return after === undefined ? [] : [{ api, before: `${before}/`, after: `/${after}` }];
  });
  return (path) =>
    exact.get(path) ??
    patterns.find(
      ({ before, after }) =>
        path.length > before.length + after.length &&
        path.startsWith(before) &&
        path.endsWith(after) &&
        path.indexOf("/", before.length) === path.length - after.length,
    )?.api;
}
