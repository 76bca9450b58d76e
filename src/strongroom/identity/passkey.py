"""Judge what a passkey says (W3C Web Authentication): a new one as it is registered, a known one as it signs in.

Rules it keeps:

1. The person was verified by the authenticator (PIN, finger, face), when it was registered and every time after.
2. Page (origin), relying party, challenge and the authenticator's counter are what is expected.
3. Whatever is wrong raises; parsing is left to py_webauthn, and nothing that it raises gets out.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from dataclasses import dataclass, field
from typing import Any

from strongroom.errors import UsageError
from strongroom.identity.commitment import refused, registration_challenge

RP_ID = "localhost"
ORIGIN_PORT = 8449
ALGORITHMS = (-8, -7, -257)
"""EdDSA, ES256, RS256, by their COSE numbers."""
ANSWER_LENGTH_MAX = 16_384
ID_BYTES_MAX = 1023
_PREFIX = "srp1"


@dataclass(frozen=True)
class Passkey:
    """A passkey as it was registered; `public_key` is a COSE key, `model` the id of the authenticator's model."""

    id: bytes
    public_key: bytes = field(repr=False)
    rp_id: str
    origin: str
    signs: int
    model: str


def origin_of(port: int = ORIGIN_PORT) -> str:
    """The origin of the page that the command line serves on this machine."""
    return f"http://{RP_ID}:{port}"


def passkey_line(actor: str, origin: str, answer: str) -> str:
    """What an operator is given to let a new passkey speak for an actor; nothing of it is secret.

    Args:
        actor: Whom it is for.
        origin: Of the page that it was made on.
        answer: What the browser said, as JSON.
    """
    said = json.loads(answer)
    short = {"origin": origin, "id": said["id"], "response": {name: said["response"][name] for name in _RESPONSE}}
    packed = zlib.compress(json.dumps(short, separators=(",", ":")).encode(), 9)
    return f"{_PREFIX}:{actor}:{base64.urlsafe_b64encode(packed).decode()}"


_RESPONSE = ("attestationObject", "clientDataJSON")


def parse_passkey_line(line: str, room: bytes) -> tuple[str, Passkey]:
    """The actor and the passkey in a line that was made for a room (16 B).

    Raises:
        UsageError: It is none, or of another room, or the passkey is not one that verifies its owner.
    """
    prefix, _, rest = line.strip().partition(":")
    actor, _, text = rest.rpartition(":")
    wrong = UsageError("this is not the line of a passkey of this room", hint="`strongroom actor passkey` prints one")
    if prefix != _PREFIX or not actor or len(text) > ANSWER_LENGTH_MAX:
        raise wrong
    try:
        reader = zlib.decompressobj()
        said = json.loads(reader.decompress(base64.b64decode(text, b"-_", validate=True), ANSWER_LENGTH_MAX))
        if not reader.eof or reader.unused_data:
            raise wrong
        origin, ident = str(said["origin"]), said["id"]
        response = {name: said["response"][name] for name in _RESPONSE}
    except (ValueError, KeyError, TypeError, binascii.Error, zlib.error, RecursionError):
        raise wrong from None
    host = origin.partition("://")[2].rpartition(":")[0]
    if host != RP_ID:
        raise wrong
    answer = {"id": ident, "rawId": ident, "type": "public-key", "response": response}
    return actor, _registered(answer, registration_challenge(room, actor), RP_ID, origin, wrong)


def _registered(answer: dict[str, Any], challenge: bytes, rp_id: str, origin: str, wrong: UsageError) -> Passkey:
    from webauthn import verify_registration_response
    from webauthn.helpers.cose import COSEAlgorithmIdentifier

    try:
        found = verify_registration_response(
            credential=answer,
            expected_challenge=challenge,
            expected_rp_id=rp_id,
            expected_origin=origin,
            require_user_verification=True,
            supported_pub_key_algs=[COSEAlgorithmIdentifier(number) for number in ALGORITHMS],
        )
    except Exception:  # noqa: BLE001  a parser of others: whatever it raises, the line is none
        raise wrong from None
    if len(found.credential_id) > ID_BYTES_MAX:
        raise wrong
    return Passkey(
        found.credential_id, found.credential_public_key, rp_id, origin, found.sign_count, found.aaguid
    )


def answered_by(answer: str) -> bytes:
    """Which passkey an answer says it is of, before anybody has verified it.

    Raises:
        DeniedError: It is no answer.
    """
    if len(answer) > ANSWER_LENGTH_MAX:
        raise refused("assertion")
    try:
        text = json.loads(answer)["id"]
        found = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error, RecursionError):
        raise refused("assertion") from None
    return found


def verify_assertion(passkey: Passkey, answer: str, challenge: bytes) -> int:
    """The authenticator's new counter, when the passkey has signed a challenge (32 B) for its verified owner.

    Raises:
        DeniedError: Anything of it does not hold.
    """
    from webauthn import verify_authentication_response

    if len(answer) > ANSWER_LENGTH_MAX:
        raise refused("assertion")
    try:
        said = json.loads(answer)
        found = verify_authentication_response(
            credential={**said, "rawId": said["id"], "type": "public-key"},
            expected_challenge=challenge,
            expected_rp_id=passkey.rp_id,
            expected_origin=passkey.origin,
            credential_public_key=passkey.public_key,
            credential_current_sign_count=passkey.signs,
            require_user_verification=True,
        )
        client = json.loads(base64.urlsafe_b64decode(said["response"]["clientDataJSON"] + "=="))
        crossed = client.get("crossOrigin", False)
    except Exception:  # noqa: BLE001  a parser of others: whatever it raises, nobody signed in
        raise refused("assertion") from None
    if crossed is not False or found.credential_id != passkey.id:
        raise refused("assertion")
    return found.new_sign_count
