/**
 * The console in a browser, case by case, in one world. The last cases take things away.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect } from "vitest";
import { browserAvailable } from "../support/browser.ts";
import { ConsoleWorld, JWT_SECRET } from "../support/console-world.ts";
import { etcdAvailable } from "../support/etcd.ts";
import { clusterCases } from "./cases/cluster-cases.ts";
import { faultsCases } from "./cases/faults-cases.ts";
import { formsCases } from "./cases/forms-cases.ts";
import { recordsCases } from "./cases/records-cases.ts";
import { shellCases } from "./cases/shell-cases.ts";
import { tokensCases } from "./cases/tokens-cases.ts";

describe.skipIf(!etcdAvailable() || !browserAvailable())("the console", () => {
  let world: ConsoleWorld | undefined;
  const started = (): ConsoleWorld => {
    if (!world) throw new Error("the world is not there");
    return world;
  };
  beforeAll(async () => {
    world = await ConsoleWorld.start();
    const { put, nodes } = world;
    await put("/global_rules/ids", { plugins: { "request-id": {} } });
    await put("/consumers/jack", {
      username: "jack",
      plugins: { "jwt-auth": { key: "jack-key", secret: JWT_SECRET }, "key-auth": { key: "jack-api-key-012345" } },
    });
    await put("/routes/orders", {
      ...{ name: "Orders", uri: "/orders/*", methods: ["GET"], plugins: { "jwt-auth": {} }, upstream: { nodes } },
    });
    await put("/routes/orders-write", { uri: "/orders/*", methods: ["POST"], upstream: { nodes } });
  });
  afterAll(() => world?.stop());
  beforeEach(() => started().openPage());
  afterEach(async () => expect(await started().closePage()).toEqual([]));

  shellCases(started);
  clusterCases(started);
  recordsCases(started);
  formsCases(started);
  tokensCases(started);
  faultsCases(started);
});
