/**
 * `npm start` on a fresh clone, with nothing but Node: installs, builds, then becomes `jotgate start`.
 * Further arguments go to it: `npm start -- --gateway-listen 127.0.0.1:8080`.
 */
const [major, minor] = process.versions.node.split(".").map(Number);

async function start() {
  if (major < 20 || (major === 20 && minor < 19)) {
    throw new Error(`Node.js 20.19 or newer is needed, this is ${process.versions.node}`);
  }
  const { buildIfNeeded, installIfNeeded } = await import("./project.mjs");
  await installIfNeeded();
  await buildIfNeeded();
  // The same process from here on: signals and the exit code need no passing on.
  process.argv.splice(2, 0, "start");
  await import("../bin/jotgate.mjs");
}

start().catch((error) => {
  console.error(`jotgate: ${error.message}`);
  process.exitCode = 1;
});
