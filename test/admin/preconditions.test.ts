import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type AdminWorld, openAdminWorld } from "../support/admin.ts";

let world: AdminWorld;
beforeAll(async () => {
  world = await openAdminWorld();
});
afterAll(() => world.close());

const body = { uri: "/a", upstream: { nodes: { "127.0.0.1:80": 1 } } };

test("the tag of a record is its revision, on writes and reads alike", async () => {
  const put = await world.call("PUT", "/routes/t", { body });
  const got = await world.call("GET", "/routes/t");
  expect(put.headers["etag"]).toBe(`"${got.body.modifiedIndex}"`);
  expect(got.headers["etag"]).toBe(put.headers["etag"]);
  const patch = await world.call("PATCH", "/routes/t", { body: { desc: "x" } });
  expect(patch.headers["etag"]).toBe(`"${(await world.call("GET", "/routes/t")).body.modifiedIndex}"`);
  expect((await world.call("POST", "/services", { body: {} })).headers["etag"]).toMatch(/^"\d+"$/);
});

describe.each([
  { method: "PUT", sent: body },
  { method: "PATCH", sent: { desc: "y" } },
  { method: "DELETE", sent: undefined },
])("$method with If-Match", ({ method, sent }) => {
  const call = (tag: string) => world.call(method, "/routes/m", { body: sent, headers: { "If-Match": tag } });

  test("is refused when somebody else was faster, and says which revision it is", async () => {
    const first = await world.call("PUT", "/routes/m", { body });
    const second = await world.call("PUT", "/routes/m", { body: { ...body, desc: "theirs" } });
    const reply = await call(first.headers["etag"] ?? "");
    expect(reply.status).toBe(412);
    expect(reply.headers["etag"]).toBe(second.headers["etag"]);
    expect((await world.call("GET", "/routes/m")).body.value.desc).toBe("theirs");
  });

  test.each([
    (tag: string) => tag,
    (tag: string) => `W/${tag}`,
    (tag: string) => `"1", ${tag}`,
    (tag: string) => tag.replaceAll('"', ""),
    () => "*",
  ])("goes through when the record is as known (spelling %#)", async (spell) => {
    const { headers } = await world.call("PUT", "/routes/m", { body });
    expect((await call(spell(headers["etag"] ?? ""))).status).toBe(200);
  });

  test("is refused when there is no such record, and when the tag is none of ours", async () => {
    await world.call("DELETE", "/routes/m");
    for (const tag of ["*", '"1"', '"abc"']) expect((await call(tag)).status).toBe(412);
    expect((await call("what?")).status).toBe(400);
    expect((await world.call("GET", "/routes/m")).status).toBe(404);
  });
});

test("If-None-Match: * only ever creates", async () => {
  const headers = { "If-None-Match": "*" };
  expect((await world.call("PUT", "/routes/c", { body, headers })).status).toBe(201);
  expect((await world.call("PUT", "/routes/c", { body, headers })).status).toBe(412);
});

test("of writers that all know the same revision, one gets through", async () => {
  const { headers } = await world.call("PUT", "/routes/r", { body });
  const tag = { "If-Match": headers["etag"] };
  for (const method of ["PUT", "PATCH"]) {
    const known = method === "PUT" ? tag : { "If-Match": (await world.call("GET", "/routes/r")).headers["etag"] };
    const replies = await Promise.all(
      Array.from({ length: 10 }, (_, n) =>
        world.call(method, "/routes/r", { body: { ...body, priority: n }, headers: known }),
      ),
    );
    expect(replies.map(({ status }) => status).sort()).toEqual([200, ...Array(9).fill(412)]);
  }
});
