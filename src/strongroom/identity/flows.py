"""How a person gets an id_token: in a browser (RFC 8252 with PKCE, RFC 7636), or on another device (RFC 8628).

Rules it keeps:

1. The code that comes back through the browser is worth nothing without the verifier, which stays in this process; what
   comes back with another state, or from another issuer (RFC 9207), is none.
2. A program on a person's machine has no secret of its own. Where an issuer insists on a client secret it is posted,
   and nothing rests on it.
3. The token is not judged here. The keymaster does that; a token for another key pair is worth nothing to anybody.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from strongroom.errors import DeniedError, UnavailableError, UsageError
from strongroom.identity.issuers import discover, fetch_document
from strongroom.identity.urls import check_issuer, is_safe

SCOPE = "openid"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
DEVICE_SECONDS_MAX = 900
POLL_SECONDS = 5
_ERROR = re.compile(r"[a-z_]{1,40}")


@dataclass(frozen=True)
class Client:
    """A program that is registered at an issuer, which asks for some scopes."""

    issuer: str
    id: str
    scope: str = SCOPE
    secret: str | None = field(default=None, repr=False)
    metadata: Mapping[str, object] = field(default_factory=dict, repr=False)

    def endpoint(self, name: str) -> str:
        """A URL of the issuer's metadata; UsageError where it has none that is safe."""
        found = self.metadata.get(name)
        if not isinstance(found, str) or not is_safe(found, loopback=self.issuer.startswith("http://")):
            raise UsageError(f"the issuer has no {name.replace('_', ' ')} that could be used safely")
        return found

    def post(self, name: str, form: Mapping[str, str]) -> dict[str, Any]:
        """What the issuer answers to a form at one of its endpoints; UnavailableError where that cannot be read."""
        own = {"client_id": self.id, **({} if self.secret is None else {"client_secret": self.secret})}
        try:
            said = json.loads(fetch_document(self.endpoint(name), form={**form, **own}))
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict):
            raise UnavailableError("the issuer's answer cannot be read")
        return said


def client_of(issuer: str, client_id: str, scope: str = SCOPE, secret: str | None = None) -> Client:
    """A client, with its issuer's metadata.

    Raises:
        UsageError: The URL is none.
        UnavailableError: The issuer does not answer.
    """
    return Client(check_issuer(issuer), client_id, scope, secret, discover(issuer))


@dataclass(frozen=True)
class InBrowser:
    """One sign-in in a browser: where to send the person, and what the answer must carry."""

    client: Client
    redirect: str
    state: str = field(repr=False)
    verifier: str = field(repr=False)
    nonce: str

    @staticmethod
    def begin(client: Client, redirect: str, nonce: str, entropy: Callable[[int], bytes]) -> InBrowser:
        """Draw state and verifier."""
        return InBrowser(client, redirect, _text(entropy(16)), _text(entropy(32)), nonce)

    @property
    def url(self) -> str:
        """Where the person signs in. Nothing of it is secret."""
        asked = {
            "response_type": "code",
            "client_id": self.client.id,
            "redirect_uri": self.redirect,
            "scope": self.client.scope,
            "state": self.state,
            "nonce": self.nonce,
            "code_challenge": _text(hashlib.sha256(self.verifier.encode()).digest()),
            "code_challenge_method": "S256",
        }
        where = self.client.endpoint("authorization_endpoint")
        return f"{where}{'&' if '?' in where else '?'}{urlencode(asked)}"

    def is_answer(self, said: Mapping[str, str]) -> bool:
        """Whether a query that came to the redirect is the answer to this sign-in."""
        own = hmac.compare_digest(said.get("state", "").encode(), self.state.encode())
        return own and said.get("iss", self.client.issuer) == self.client.issuer

    def token(self, said: Mapping[str, str]) -> str:
        """The id_token for an answer.

        Raises:
            DeniedError: The issuer refused.
        """
        if "code" not in said:
            raise DeniedError("the issuer did not sign you in", rule="signin.issuer")
        form = {
            "grant_type": "authorization_code",
            "code": said["code"],
            "redirect_uri": self.redirect,
            "code_verifier": self.verifier,
        }
        return _id_token(self.client.post("token_endpoint", form))


@dataclass(frozen=True)
class OnDevice:
    """One sign-in on another device: the words a person types there, and where."""

    client: Client
    code: str = field(repr=False)
    user_code: str
    where: str
    seconds: int
    interval: int

    @staticmethod
    def begin(client: Client, nonce: str) -> OnDevice:
        """Ask the issuer for a code.

        Raises:
            UsageError: The issuer does not offer that.
            UnavailableError: Its answer cannot be read.
        """
        said = client.post("device_authorization_endpoint", {"scope": client.scope, "nonce": nonce})
        texts = [said.get(name) for name in ("device_code", "user_code", "verification_uri")]
        numbers = [said.get("expires_in", DEVICE_SECONDS_MAX), said.get("interval", POLL_SECONDS)]
        printable = all(isinstance(text, str) and text.isprintable() for text in texts)
        if not printable or not all(isinstance(number, int) for number in numbers):
            raise UnavailableError("the issuer gives no code for another device")
        code, user_code, where = (str(text) for text in texts)
        return OnDevice(client, code, user_code, where, min(numbers[0], DEVICE_SECONDS_MAX), max(numbers[1], 0))

    def token(self, sleep: Callable[[float], None]) -> str:
        """The id_token, when the person has signed in there; asks again and again until then.

        Raises:
            DeniedError: They did not, or not in time.
        """
        form = {"grant_type": DEVICE_GRANT, "device_code": self.code}
        waited, interval = 0.0, float(self.interval)
        while waited <= self.seconds:
            said = self.client.post("token_endpoint", form)
            if "error" not in said:
                return _id_token(said)
            if said["error"] == "slow_down":
                interval += POLL_SECONDS
            elif said["error"] != "authorization_pending":
                break
            sleep(interval)
            waited += max(interval, 1.0)
        raise DeniedError("nobody signed in on the other device", rule="signin.issuer", hint="try again")


def _id_token(said: Mapping[str, Any]) -> str:
    token = said.get("id_token")
    if not isinstance(token, str):
        code = said.get("error")
        why = f" ({code})" if isinstance(code, str) and _ERROR.fullmatch(code) else ""
        hint = "is the client registered there, as a public one, with the scope openid?"
        raise DeniedError(f"the issuer gave no id_token{why}", rule="signin.issuer", hint=hint)
    return token


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
