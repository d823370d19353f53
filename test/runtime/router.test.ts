import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { compileIpSet } from "../../src/base/net/ip.ts";
import { makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { compileCondition } from "../../src/plugin/variables/condition.ts";
import type { RouteConditions } from "../../src/runtime/routes/path-table.ts";
import { openRouter, type Router, type RouterMode } from "../../src/runtime/routes/router.ts";
import { runs, slack } from "../support/long-run.ts";

interface RouteInput {
  readonly id: string;
  readonly uris: readonly string[];
  readonly hosts?: readonly string[];
  readonly methods?: readonly string[];
  readonly remoteAddrs?: readonly string[];
  readonly vars?: unknown;
  readonly priority?: number;
  readonly order?: number;
}

function ruleOf(input: RouteInput): RouteConditions<string> {
  const condition = input.vars === undefined ? undefined : compileCondition(input.vars);
  return {
    id: input.id,
    order: input.order ?? 0,
    priority: input.priority ?? 0,
    uris: input.uris,
    hosts: input.hosts ?? [],
    methods: input.methods && new Set(input.methods),
    remoteAddrs: input.remoteAddrs && compileIpSet(input.remoteAddrs),
    vars: condition?.test,
    needsBody: condition?.needsBody ?? false,
    bind: (uri, host) => `${input.id} ${uri} ${host}`.trim(),
  };
}

function routerOf(mode: RouterMode, routes: readonly RouteInput[]): Router<string> {
  const router = openRouter<string>(mode);
  for (const route of routes) router.add(ruleOf(route));
  return router;
}

function ask(router: Router<string>, target: string, host = "a.com", method = "GET"): string | undefined {
  return router.match(makeView({ method, target, headers: { host } }));
}

const MODES = ["radixtree_host_uri", "radixtree_uri", "radixtree_uri_with_parameter"] as const;

describe.each(MODES)("%s", (mode) => {
  test.each([
    {
      says: "an exact pattern matches its path only",
      uri: "/foo",
      yes: ["/foo"],
      no: ["/foo/", "/foobar", "/fo", "/FOO"],
    },
    {
      says: "a star after a slash needs the slash",
      uri: "/foo/*",
      yes: ["/foo/", "/foo/a/b"],
      no: ["/foo", "/foobar"],
    },
    { says: "a star after letters is a prefix", uri: "/foo*", yes: ["/foo", "/foobar", "/foo/a"], no: ["/fo"] },
    { says: "a star after the root matches everything", uri: "/*", yes: ["/", "/a", "/a/b/"], no: [] },
    {
      says: "a star inside stands for any characters",
      uri: "/foo/*/bar",
      yes: ["/foo/a/bar", "/foo/a/b/bar", "/foo//bar"],
      no: ["/foo/bar", "/foo/a/bar/", "/foo/a/barx"],
    },
    {
      says: "two stars inside both match",
      uri: "/a/*/b/*/c",
      yes: ["/a/1/b/2/c", "/a/1/2/b/3/c"],
      no: ["/a/1/b/c", "/a/b/2/c"],
    },
    { says: "dots and brackets in a pattern are literal", uri: "/a.(b)/*/c", yes: ["/a.(b)/x/c"], no: ["/aXb/x/c"] },
  ])("$says", ({ uri, yes, no }) => {
    const router = routerOf(mode, [{ id: "r", uris: [uri] }]);
    for (const path of yes) expect(ask(router, path), path).toBe(`r ${uri}`);
    for (const path of no) expect(ask(router, path), path).toBeUndefined();
  });

  test.each([
    {
      says: "an exact route beats a prefix route of higher priority",
      routes: [
        { id: "prefix", uris: ["/a/*"], priority: 100 },
        { id: "exact", uris: ["/a/b"] },
      ],
      asks: [
        ["/a/b", "exact"],
        ["/a/c", "prefix"],
      ],
    },
    {
      says: "a longer prefix beats a shorter one of higher priority",
      routes: [
        { id: "short", uris: ["/a/*"], priority: 100 },
        { id: "long", uris: ["/a/b/*"] },
      ],
      asks: [
        ["/a/b/c", "long"],
        ["/a/c", "short"],
      ],
    },
    {
      says: "higher priority wins on the same path",
      routes: [
        { id: "low", uris: ["/a"], priority: 1 },
        { id: "high", uris: ["/a"], priority: 2 },
      ],
      asks: [["/a", "high"]],
    },
    {
      says: "negative priority loses against the default",
      routes: [
        { id: "low", uris: ["/a"], priority: -1 },
        { id: "plain", uris: ["/a"] },
      ],
      asks: [["/a", "plain"]],
    },
    {
      says: "within a prefix the longer pattern wins",
      routes: [
        { id: "plain", uris: ["/a/*"] },
        { id: "longer", uris: ["/a/*/b"] },
      ],
      asks: [
        ["/a/x/b", "longer"],
        ["/a/x/c", "plain"],
      ],
    },
    {
      says: "within a prefix priority comes before length",
      routes: [
        { id: "plain", uris: ["/a/*"], priority: 1 },
        { id: "longer", uris: ["/a/*/b"] },
      ],
      asks: [["/a/x/b", "plain"]],
    },
    {
      says: "the route created first wins a tie",
      routes: [
        { id: "later", uris: ["/a"], order: 9 },
        { id: "earlier", uris: ["/a"], order: 3 },
      ],
      asks: [["/a", "earlier"]],
    },
    {
      says: "of routes created at once the smaller id wins",
      routes: [
        { id: "b", uris: ["/a"], order: 3 },
        { id: "a", uris: ["/a"], order: 3 },
      ],
      asks: [["/a", "a"]],
    },
    {
      says: "a route may have several patterns",
      routes: [{ id: "r", uris: ["/a", "/b/*", "/a"] }],
      asks: [
        ["/a", "r"],
        ["/b/c", "r"],
        ["/c", undefined],
      ],
    },
    {
      says: "prefixes that share letters but not a slash are apart",
      routes: [
        { id: "ab", uris: ["/ab*"] },
        { id: "ac", uris: ["/ac*"] },
        { id: "a", uris: ["/a*"] },
      ],
      asks: [
        ["/abc", "ab"],
        ["/acc", "ac"],
        ["/ad", "a"],
        ["/", undefined],
      ],
    },
  ] as const)("$says", ({ routes, asks }) => {
    const router = routerOf(mode, routes);
    for (const [path, want] of asks) expect(ask(router, path)?.split(" ")[0], path).toBe(want);
  });

  test.each([
    {
      says: "a method that is not listed falls through to the next route",
      first: { methods: ["GET", "HEAD"] },
      misses: { method: "POST" },
    },
    { says: "a foreign address falls through", first: { remoteAddrs: ["10.0.0.0/8"] }, misses: { target: "/a" } },
    {
      says: "vars that do not hold fall through",
      first: { vars: [["arg_v", "==", "1"]] },
      misses: { target: "/a?v=2" },
    },
  ])("$says, also from exact to prefix", ({ first, misses }) => {
    const router = routerOf(mode, [
      { id: "first", uris: ["/a"], ...first },
      { id: "second", uris: ["/*"] },
    ]);
    expect(router.match(makeView({ target: "/a", ...misses }))).toBe("second /*");
  });

  test("conditions that hold let the route match", () => {
    const router = routerOf(mode, [
      { id: "r", uris: ["/a"], methods: ["GET"], remoteAddrs: ["203.0.113.0/24"], vars: [["arg_v", "==", "1"]] },
    ]);
    expect(ask(router, "/a?v=1")).toBe("r /a");
  });

  test("an unknown method matches routes without methods", () => {
    const router = routerOf(mode, [
      { id: "some", uris: ["/a"], methods: ["GET"] },
      { id: "all", uris: ["/*"] },
    ]);
    expect(ask(router, "/a", "a.com", "FOO")).toBe("all /*");
  });

  test("a removed route is found no more and leaves the others", () => {
    const router = openRouter<string>(mode);
    const kept = ruleOf({ id: "kept", uris: ["/a/*"], hosts: ["a.com"] });
    const gone = ruleOf({ id: "gone", uris: ["/a/*", "/a/b"], hosts: ["a.com", "*.com"], priority: 1 });
    router.add(kept);
    router.add(gone);
    expect(ask(router, "/a/b")).toBe("gone /a/b a.com");
    router.remove(gone);
    expect(ask(router, "/a/b")).toBe("kept /a/* a.com");
    expect(router.size).toBe(1);
  });

  test("a router says when vars need the body", () => {
    const router = openRouter<string>(mode);
    const rule = ruleOf({ id: "r", uris: ["/a"], vars: [["post_arg_x", "==", "1"]] });
    expect(router.needsBody).toBe(false);
    router.add(rule);
    expect(router.needsBody).toBe(true);
    router.remove(rule);
    expect(router.needsBody).toBe(false);
  });
});

describe("hosts of radixtree_host_uri", () => {
  const router = routerOf("radixtree_host_uri", [
    { id: "exact", uris: ["/e"], hosts: ["Foo.com"] },
    { id: "deep", uris: ["/w"], hosts: ["*.b.foo.com"] },
    { id: "wild", uris: ["/w", "/x"], hosts: ["*.foo.com"] },
    { id: "tail", uris: ["/t"], hosts: ["*foo.com"] },
    { id: "any", uris: ["/y"], hosts: ["*"] },
    { id: "none", uris: ["/*"], priority: 1000 },
  ]);
  test.each([
    { says: "an exact host matches whatever its case", host: "FOO.com:8080", path: "/e", want: "exact /e foo.com" },
    { says: "a wildcard matches at any depth", host: "a.b.c.foo.com", path: "/w", want: "wild /w *.foo.com" },
    { says: "the longest wildcard wins", host: "a.b.foo.com", path: "/w", want: "deep /w *.b.foo.com" },
    { says: "a dotted wildcard does not match the name itself", host: "foo.com", path: "/w", want: "none /*" },
    { says: "a wildcard without a dot matches any end", host: "barfoo.com", path: "/t", want: "tail /t *foo.com" },
    {
      says: "a path missing in one host set is sought in the next",
      host: "a.b.foo.com",
      path: "/x",
      want: "wild /x *.foo.com",
    },
    { says: "a lone star matches any host", host: "else.org", path: "/y", want: "any /y *" },
    { says: "routes without host come last whatever their priority", host: "foo.com", path: "/z", want: "none /*" },
  ])("$says", ({ host, path, want }) => {
    expect(ask(router, path, host)).toBe(want);
  });

  test("a host route beats a hostless route with an exact path", () => {
    const two = routerOf("radixtree_host_uri", [
      { id: "host", uris: ["/hh/*"], hosts: ["hh.example.com"] },
      { id: "hostless", uris: ["/hh/exact"], priority: 10 },
    ]);
    expect(ask(two, "/hh/exact", "hh.example.com")).toBe("host /hh/* hh.example.com");
    expect(ask(two, "/hh/exact", "other")).toBe("hostless /hh/exact");
  });
});

describe("hosts of radixtree_uri", () => {
  test.each([
    { says: "the path decides before the host", host: "foo.com", path: "/a/b", want: "exact /a/b" },
    { says: "a host that does not match falls through", host: "bar.com", path: "/a/c", want: "rest /*" },
    { says: "a host pattern filters", host: "foo.com", path: "/a/c", want: "host /a/* foo.com" },
    { says: "a wildcard filters", host: "x.foo.com", path: "/a/c", want: "host /a/* *.foo.com" },
    {
      says: "a pattern with a port is compared with the raw host",
      host: "P.com:9080",
      path: "/p",
      want: "port /p p.com:9080",
    },
    { says: "a pattern with a port wants that port", host: "p.com:9081", path: "/p", want: "rest /*" },
  ])("$says", ({ host, path, want }) => {
    const router = routerOf("radixtree_uri", [
      { id: "exact", uris: ["/a/b"] },
      { id: "host", uris: ["/a/*"], hosts: ["foo.com", "*.foo.com"] },
      { id: "port", uris: ["/p"], hosts: ["p.com:9080"] },
      { id: "rest", uris: ["/*"] },
    ]);
    expect(ask(router, path, host)).toBe(want);
  });
});

describe("parameters", () => {
  const mode = "radixtree_uri_with_parameter";
  test.each([
    { uri: "/user/:id", path: "/user/7", want: { id: "7" } },
    { uri: "/user/:id", path: "/user/", want: undefined },
    { uri: "/user/:id", path: "/user/7/", want: undefined },
    { uri: "/user/:id", path: "/user/7/x", want: undefined },
    { uri: "/user/:id/", path: "/user/7/", want: { id: "7" } },
    { uri: "/user/:id/:what", path: "/user/7/x", want: { id: "7", what: "x" } },
    { uri: "/user/:id/*rest", path: "/user/7/x/y", want: { id: "7", rest: "x/y" } },
    { uri: "/foo/*", path: "/foo/a/b", want: { ":ext": "a/b" } },
    { uri: "/a/*x/b/*y", path: "/a/1/b/2", want: { x: "1", y: "2" } },
  ])("$uri reads $path as $want", ({ uri, path, want }) => {
    const view = makeView({ target: path });
    const found = routerOf(mode, [{ id: "r", uris: [uri] }]).match(view);
    expect(found).toBe(want && `r ${uri}`);
    expect(view.uriParams && Object.fromEntries(view.uriParams)).toEqual(want);
  });

  test("a colon is literal in the other routers", () => {
    for (const other of ["radixtree_uri", "radixtree_host_uri"] as const) {
      const router = routerOf(other, [{ id: "r", uris: ["/user/:id"] }]);
      expect(ask(router, "/user/:id")).toBe("r /user/:id");
      expect(ask(router, "/user/7")).toBeUndefined();
    }
  });

  test("vars may read a captured parameter, and a route that falls through leaves none behind", () => {
    const router = routerOf(mode, [
      { id: "one", uris: ["/u/:id"], vars: [["uri_param_id", "==", "1"]] },
      { id: "rest", uris: ["/*"], methods: ["GET"] },
    ]);
    const hit = makeView({ target: "/u/1" });
    expect(router.match(hit)).toBe("one /u/:id");
    const miss = makeView({ target: "/u/2" });
    expect(router.match(miss)).toBe("rest /*");
    expect(miss.uriParams && [...miss.uriParams.keys()]).toEqual([":ext"]);
  });

  test("many stars take no more than linear time", () => {
    const router = routerOf(mode, [{ id: "r", uris: [`/${"*a/".repeat(8)}b`] }]);
    const started = performance.now();
    expect(ask(router, `/${"a/".repeat(4000)}c`)).toBeUndefined();
    expect(performance.now() - started).toBeLessThan(slack(2_000));
  });
});

test("any history of changes gives the router that a fresh build gives", () => {
  const uri = fc.constantFrom(
    "/",
    "/a",
    "/a/b",
    "/*",
    "/a/*",
    "/a/b/*",
    "/a*",
    "/ab*",
    "/a/*/c",
    "/:x",
    "/a/:x",
    "/a/:x/*r",
  );
  const host = fc.constantFrom("a.com", "b.com", "*.a.com", "*a.com", "*.x.a.com", "*", "a.com:80");
  const route = fc.record({
    uris: fc.uniqueArray(uri, { minLength: 1, maxLength: 3 }),
    hosts: fc.uniqueArray(host, { maxLength: 2 }),
    priority: fc.integer({ min: 0, max: 2 }),
    order: fc.integer({ min: 1, max: 4 }),
    methods: fc.option(fc.constant(["GET"]), { nil: undefined }),
  });
  const step = fc.tuple(fc.constantFrom("1", "2", "3", "4", "5"), fc.option(route, { nil: undefined, freq: 3 }));
  fc.assert(
    fc.property(fc.constantFrom(...MODES), fc.array(step, { maxLength: 25 }), (mode, steps) => {
      const router = openRouter<string>(mode);
      const now = new Map<string, RouteConditions<string>>();
      for (const [id, input] of steps) {
        const before = now.get(id);
        if (before) router.remove(before);
        now.delete(id);
        if (!input) continue;
        const { methods, ...rest } = input;
        const rule = ruleOf({ id, ...rest, ...(methods ? { methods } : {}) });
        now.set(id, rule);
        router.add(rule);
      }
      const fresh = openRouter<string>(mode);
      for (const id of [...now.keys()].sort()) fresh.add(now.get(id) as RouteConditions<string>);
      expect(router.size).toBe(fresh.size);
      for (const asked of ["/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/a/x/c", "/q"])
        for (const name of ["a.com", "x.a.com", "y.x.a.com", "b.com", "za.com", "a.com:80", "c.org"])
          for (const method of ["GET", "POST"]) {
            expect(ask(router, asked, name, method)).toBe(ask(fresh, asked, name, method));
          }
    }),
    { numRuns: runs(50) },
  );
});
