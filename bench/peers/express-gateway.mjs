// Peer: express-gateway 1.16 with its jwt policy, configured as its documentation shows.
import { mkdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const [port, upstream, secret, folder] = process.argv.slice(2);
const config = join(folder, "config");
mkdirSync(join(config, "models"), { recursive: true });
writeFileSync(join(folder, "secret.txt"), secret);
const require = createRequire(import.meta.url);
const models = join(require.resolve("express-gateway/package.json"), "../lib/config/models");
for (const name of ["users", "applications", "credentials"]) {
  writeFileSync(join(config, "models", `${name}.json`), JSON.stringify(require(join(models, `${name}.json`))));
}
writeFileSync(
  join(config, "gateway.config.yml"),
  `http: { port: ${port}, host: 127.0.0.1 }
apiEndpoints:
  plain: { host: "*", paths: ["/plain", "/plain/*"] }
  jwt: { host: "*", paths: ["/jwt", "/jwt/*"] }
serviceEndpoints: { backend: { url: "${upstream}" } }
policies: [proxy, jwt]
pipelines:
  plain: { apiEndpoints: [plain], policies: [{ proxy: { action: { serviceEndpoint: backend } } }] }
  jwt:
    apiEndpoints: [jwt]
    policies:
      - jwt: { action: { secretOrPublicKeyFile: "${join(folder, "secret.txt")}", checkCredentialExistence: false } }
      - proxy: { action: { serviceEndpoint: backend } }
`,
);
writeFileSync(
  join(config, "system.config.yml"),
  "db: { redis: { emulate: true, namespace: EG } }\ncrypto: { cipherKey: sensitiveKey, algorithm: aes256, saltRounds: 10 }\nsession: { secret: keyboard, resave: false, saveUninitialized: false }\naccessTokens: { timeToExpiry: 7200000 }\nrefreshTokens: { timeToExpiry: 7200000 }\nauthorizationCodes: { timeToExpiry: 300000 }\n",
);
require("express-gateway")().load(config).run();
