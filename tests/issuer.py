"""Another issuer of tokens, with a server of its keys."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from scrapewatch.access import READ

RSA = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
_OF: dict[str, tuple[Any, Any]] = {
    "RS256": (RSA, jwt.algorithms.RSAAlgorithm),
    "PS256": (RSA, jwt.algorithms.RSAAlgorithm),
    "ES256": (EC, jwt.algorithms.ECAlgorithm),
    "EdDSA": (ED, jwt.algorithms.OKPAlgorithm),
}
ALGORITHMS = tuple(_OF)


class Issuer:
    """Another issuer: signs with keys by algorithm, and serves their public halves."""

    def __init__(self) -> None:
        self.asked = 0
        self.status = 200
        self.body: bytes | None = None
        self.algorithms = ["RS256"]
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked += 1
                body = issuer.body if issuer.body is not None else issuer.keys()
                self.send_response(issuer.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def keys(self) -> bytes:
        found = []
        for algorithm in self.algorithms:
            private, kind = _OF[algorithm]
            found.append(
                {
                    **kind.to_jwk(private.public_key(), as_dict=True),
                    "kid": f"k-{algorithm}",
                    "alg": algorithm,
                    "use": "sig",
                }
            )
        return json.dumps({"keys": found}).encode()

    def token(self, algorithm: str = "RS256", *, head: dict[str, Any] | None = None, **claims: Any) -> str:
        said = {
            "iss": self.url,
            "aud": "scrapewatch-api",
            "sub": "ada",
            "tenant": "acme",
            "scope": f"openid {READ}",
            "exp": int(time.time()) + 60,
            **claims,
        }
        said = {name: value for name, value in said.items() if value is not None}
        headers = {"kid": f"k-{algorithm}"} if head is None else head
        return jwt.encode(said, _OF[algorithm][0], algorithm=algorithm, headers=headers)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
