"""Debian's Authlib as a client, and PyJWT as an API that verifies.

verify ISSUER JWKS_URI AUDIENCE ALGORITHM: serves 200 or 401 at any path, prints its port.
client METHOD TOKEN_ENDPOINT CLIENT_ID SECRET_OR_PEM_FILE: prints the answer of the token endpoint.
"""
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def verify(issuer, jwks_uri, audience, algorithm):
    import jwt

    keys = jwt.PyJWKClient(jwks_uri)

    class Api(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            try:
                token = self.headers["Authorization"].removeprefix("Bearer ")
                key = keys.get_signing_key_from_jwt(token).key
                jwt.decode(token, key, algorithms=[algorithm], audience=audience, issuer=issuer)
                status, text = 200, b"ok"
            except Exception as error:
                status, text = 401, str(error).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    print(json.dumps({"port": server.server_port}), flush=True)
    server.serve_forever()


def client(method, token_endpoint, client_id, secret):
    from authlib.integrations.requests_client import OAuth2Session
    from authlib.oauth2.rfc7523 import PrivateKeyJWT

    if method == "private_key_jwt":
        with open(secret, encoding="utf-8") as file:
            secret = file.read()
    session = OAuth2Session(client_id, secret, token_endpoint_auth_method=method)
    if method == "private_key_jwt":
        # Its own assertions live for an hour.
        claims = {"exp": int(time.time()) + 120}
        session.register_client_auth_method(PrivateKeyJWT(token_endpoint, claims=claims, alg="ES256"))
    print(json.dumps(session.fetch_token(token_endpoint, grant_type="client_credentials")))


{"verify": verify, "client": client}[sys.argv[1]](*sys.argv[2:])
