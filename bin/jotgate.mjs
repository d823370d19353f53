#!/usr/bin/env node
// Starts the built program. Written for old Nodes too, so that they get a sentence instead of a syntax error.
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

// Node.js would open its debugger to whoever may send this signal.
process.on("SIGUSR1", () => {});
// Who may be trusted is said by settings and records, each for its own connections.
if (process.env.NODE_TLS_REJECT_UNAUTHORIZED === "0") {
  delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
  console.error("jotgate: NODE_TLS_REJECT_UNAUTHORIZED=0 is ignored: name the authority to trust, as by --etcd-ca");
}

const built = new URL("../dist/cli/main.js", import.meta.url);
const [major, minor] = process.versions.node.split(".").map(Number);

function fail(sentence) {
  console.error(`jotgate: ${sentence}`);
  process.exitCode = 1;
}

if (major < 20 || (major === 20 && minor < 19)) {
  fail(`Node.js 20.19 or newer is needed, this is ${process.versions.node}`);
} else if (!existsSync(fileURLToPath(built))) {
  fail("this checkout is not built yet; run `npm start`, or `npm ci && npm run build`");
} else {
  import(built.href)
    .then(({ main }) => main(process.argv.slice(2)))
    .then((code) => {
      process.exitCode = code;
      // Whatever still holds the process after its work is done must not keep a supervisor waiting.
      setTimeout(() => process.exit(code), 1000).unref();
    })
    .catch((error) => {
      console.error(error);
      process.exitCode = 1;
    });
}
