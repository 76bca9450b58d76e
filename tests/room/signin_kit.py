"""What people sign in with, for tests: an issuer of id_tokens on loopback, and an authenticator made of software."""

import base64
import hashlib
import json
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey

from strongroom.identity.commitment import registration_challenge
from strongroom.identity.passkey import origin_of, passkey_line

CLIENT = "strongroom-desk"


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Issuer:
    """An issuer of id_tokens with a token endpoint for codes (with PKCE) and devices; everybody who comes is `subject`."""

    def __init__(self, subject="u-1", keys=None, tls=None):
        self.subject = subject
        self.more = {}
        self.keys = keys or [RSAKey.generate_key(2048, {"kid": "r1", "use": "sig"})]
        self.jwks_uri = None
        self.asked = []
        self.codes, self.devices = {}, {}
        self.approves_device = True
        self.status, self.elsewhere = 200, None
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_args):
                pass

            def _send(self, value, status=200, location=None):
                data = json.dumps(value).encode()
                self.send_response(status)
                if location:
                    self.send_header("Location", location)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self):
                issuer.asked.append(self.path)
                parts = urlsplit(self.path)
                if issuer.status != 200:
                    self._send({}, issuer.status, issuer.elsewhere)
                elif parts.path == "/.well-known/openid-configuration":
                    self._send(issuer.metadata())
                elif parts.path == "/jwks":
                    self._send(issuer.jwks())
                elif parts.path == "/authorize":
                    self._send({}, 302, issuer.authorize({k: v[0] for k, v in parse_qs(parts.query).items()}))
                else:
                    self._send({}, 404)

            def do_POST(self):
                issuer.asked.append(self.path)
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                said = {k: v[0] for k, v in form.items()}
                status, value = issuer.token(said) if self.path == "/token" else issuer.device(said)
                self._send(value, status)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_port}"

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.close()

    def metadata(self):
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "device_authorization_endpoint": f"{self.url}/device",
            "jwks_uri": self.jwks_uri or f"{self.url}/jwks",
        }

    def jwks(self):
        return KeySet(self.keys).as_dict(private=False)

    def claims(self, nonce, client=CLIENT, **changes):
        now = int(time.time())
        said = {"iss": self.url, "sub": self.subject, "aud": client, "iat": now, "exp": now + 300, "nonce": nonce}
        return {name: value for name, value in {**said, **self.more, **changes}.items() if value is not None}

    def issue(self, nonce, client=CLIENT, *, key=None, alg=None, header=None, **changes):
        key = key or self.keys[0]
        alg = alg or {RSAKey: "RS256", ECKey: "ES256", OKPKey: "Ed25519"}[type(key)]
        head = {"alg": alg, "kid": key.kid, **(header or {})}
        return jwt.encode(head, self.claims(nonce, client, **changes), key, algorithms=[alg])

    def authorize(self, said):
        code = f"code-{len(self.codes)}"
        self.codes[code] = said
        return f"{said['redirect_uri']}?{urlencode({'code': code, 'state': said['state']})}"

    def token(self, said):
        if said["grant_type"] == "authorization_code":
            asked = self.codes.pop(said["code"], None)
            proof = b64(hashlib.sha256(said["code_verifier"].encode()).digest())
            if asked is None or asked["code_challenge"] != proof or asked["redirect_uri"] != said["redirect_uri"]:
                return 400, {"error": "invalid_grant"}
            return 200, {"id_token": self.issue(asked["nonce"], asked["client_id"]), "access_token": "a-secret"}
        asked = self.devices[said["device_code"]]
        asked["polls"] += 1
        if asked["polls"] < 2:
            return 400, {"error": "authorization_pending"}
        if not self.approves_device:
            return 400, {"error": "access_denied"}
        return 200, {"id_token": self.issue(asked["nonce"], asked["client_id"])}

    def device(self, said):
        code = f"device-{len(self.devices)}"
        self.devices[code] = {"polls": 0, "nonce": said["nonce"], "client_id": said["client_id"]}
        where = f"{self.url}/enter"
        return 200, {"device_code": code, "user_code": "WDJB-MJHT", "verification_uri": where, "expires_in": 60, "interval": 0}


class Authenticator:
    """A passkey in software (W3C Web Authentication, ES256): what a browser and a token would answer."""

    def __init__(self, rp_id="localhost", origin=None):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.id = hashlib.sha256(str(id(self.key)).encode() + str(time.time_ns()).encode()).digest()
        self.rp_id, self.origin = rp_id, origin or origin_of()
        self.signs = 0

    def line(self, room, actor):
        """The line that an operator is given."""
        return passkey_line(actor, self.origin, json.dumps(self.register(registration_challenge(room, actor))))

    def register(self, challenge, *, verified=True):
        numbers = self.key.public_key().public_numbers()
        cose = {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
        attested = bytes(16) + len(self.id).to_bytes(2, "big") + self.id + cbor2.dumps(cose)
        said = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": self._data(0x41 | (4 if verified else 0)) + attested})
        response = {"clientDataJSON": b64(self._client("webauthn.create", challenge)), "attestationObject": b64(said)}
        return {"id": b64(self.id), "rawId": b64(self.id), "type": "public-key", "response": response}

    def _data(self, flags):
        return hashlib.sha256(self.rp_id.encode()).digest() + bytes([flags]) + self.signs.to_bytes(4, "big")

    def _client(self, kind, challenge, **more):
        said = {"type": kind, "challenge": b64(challenge), "origin": self.origin, "crossOrigin": False, **more}
        return json.dumps(said).encode()

    def answer(self, challenge, *, verified=True, count=1, **more):
        """JSON of an answer to a challenge."""
        self.signs += count
        data, client = self._data(0x01 | (4 if verified else 0)), self._client("webauthn.get", challenge, **more)
        signature = self.key.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        response = {"authenticatorData": b64(data), "clientDataJSON": b64(client), "signature": b64(signature)}
        return json.dumps({"id": b64(self.id), "rawId": b64(self.id), "type": "public-key", "response": response})
