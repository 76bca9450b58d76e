"""Fetch the keys of issuers of id_tokens (OpenID Connect Discovery 1.0), and keep them for a while.

Rules it keeps:

1. Over https, or over http on this machine where the issuer itself is there; no redirect is followed, and the
   document must name the very issuer that was asked.
2. At most DOCUMENT_BYTES_MAX, within FETCH_SECONDS; one fetch of an issuer at a time, and none within REFETCH_SECONDS
   of the last, so that nobody makes the keymaster ask again and again.
3. Keys are asked for anew after FRESH_SECONDS; those of before serve until KEPT_SECONDS while the issuer is not there.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlencode

import urllib3
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey

from strongroom.errors import UnavailableError
from strongroom.identity.oidc import find_key, read_keys
from strongroom.identity.urls import is_safe

DISCOVERY = "/.well-known/openid-configuration"
DOCUMENT_BYTES_MAX = 1 << 17
FETCH_SECONDS = 5.0
FRESH_SECONDS = 300.0
KEPT_SECONDS = 3600.0
REFETCH_SECONDS = 10.0
ISSUERS_MAX = 64

Fetch = Callable[[str], bytes]


def fetch_document(url: str, *, form: dict[str, str] | None = None, most: int = DOCUMENT_BYTES_MAX) -> bytes:
    """A document of an issuer, whole and in time; posts a form where one is given.

    Raises:
        UnavailableError: There is none, or not within the limits.
    """
    end = time.monotonic() + FETCH_SECONDS
    timeout = urllib3.Timeout(connect=FETCH_SECONDS, read=FETCH_SECONDS)
    found = bytearray()
    try:
        with urllib3.PoolManager(1, timeout=timeout, retries=False) as pool:
            method, body = ("GET", None) if form is None else ("POST", urlencode(form))
            headers = {"Accept": "application/json"}
            if body is not None:
                headers["Content-Type"] = "application/x-www-form-urlencoded"
            answer = pool.urlopen(method, url, body=body, headers=headers, redirect=False, preload_content=False)
            for part in answer.stream(8192):
                found += part
                if len(found) > most or time.monotonic() > end:
                    raise UnavailableError("the issuer's answer is too long, or too slow")
            answer.release_conn()
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise UnavailableError(f"the issuer does not answer ({type(error).__name__})") from None
    if answer.status != 200 and form is None:
        raise UnavailableError(f"the issuer answers with status {answer.status}")
    return bytes(found)


def discover(issuer: str, fetch: Fetch = fetch_document) -> dict[str, object]:
    """An issuer's metadata.

    Raises:
        UnavailableError: It does not answer, or speaks for another.
    """
    document = fetch(issuer.rstrip("/") + DISCOVERY)
    try:
        said = json.loads(document)
    except (ValueError, RecursionError):
        raise UnavailableError("the issuer's metadata cannot be read") from None
    if not isinstance(said, dict) or said.get("issuer") != issuer:
        raise UnavailableError("the issuer's metadata is of another issuer")
    return said


@dataclass
class _Known:
    """What is known of one issuer; times of the monotonic clock."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    keys: KeySet | None = None
    at: float = 0.0
    asked: float | None = None


class Issuers:
    """Keys of issuers.

    Args:
        fetch: Gets a document.
        clock: Seconds that never go back.
    """

    def __init__(self, fetch: Fetch = fetch_document, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}

    def key(self, issuer: str, algorithm: str, key_id: str | None) -> RSAKey | ECKey | OKPKey | None:
        """The key that an issuer signs with under an id; None if it has none such.

        Raises:
            UnavailableError: The issuer cannot be asked, and nothing of it is known.
        """
        with self._lock:
            known = self._known.get(issuer)
            if known is None:
                if len(self._known) >= ISSUERS_MAX:
                    self._known.pop(next(iter(self._known)))
                known = self._known[issuer] = _Known()
        with known.lock:
            now = self._clock()
            if known.keys is None or now - known.at > FRESH_SECONDS:
                self._refresh(issuer, known, now)
            if known.keys is None:
                raise UnavailableError("the keys of the issuer are not known")
            found = find_key(known.keys, algorithm, key_id)
            if found is None and self._refresh(issuer, known, now):
                found = find_key(known.keys, algorithm, key_id)
            return found

    def _refresh(self, issuer: str, known: _Known, now: float) -> bool:
        """Ask again, unless that was done just now; returns whether there are new keys."""
        if known.asked is not None and now - known.asked < REFETCH_SECONDS:
            return False
        known.asked = now
        try:
            where = discover(issuer, self._fetch).get("jwks_uri")
            if not isinstance(where, str) or not is_safe(where, loopback=issuer.startswith("http://")):
                raise UnavailableError("the issuer's keys are not where they could be fetched safely")
            known.keys, known.at = read_keys(self._fetch(where)), now
        except UnavailableError:
            if now - known.at > KEPT_SECONDS:
                known.keys = None
            return False
        return True
