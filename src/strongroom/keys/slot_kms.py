"""The KMS slot: the epoch key wrapped by a key that AWS KMS holds, or whatever speaks its API.

Rules it keeps:

1. Who may use the KMS key is for its policy to say; credentials come from the usual AWS chain, never from a slot file.
2. KMS encrypts a key of this slot alone, which wraps the epoch key here: bound to the slot's head, whatever KMS checks.
   The encryption context names room, epoch and slot, and stands in CloudTrail with every use.
3. It never forgets: the KMS key stays, and whoever copied the file and may use that key opens that epoch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from strongroom.errors import IntegrityError, KeysError, StrongroomError, UnavailableError, UsageError
from strongroom.keys.hierarchy import KEY_BYTES
from strongroom.keys.slots import SlotHead
from strongroom.seal.entropy import random_bytes
from strongroom.seal.wrap import unwrap, wrap

KIND = "kms"
SECONDS = 10
_REFUSED = "the KMS key does not open this keymaster"
_GONE = ("DisabledException", "KMSInvalidStateException", "NotFoundException")
_DENIED = ("AccessDeniedException", "UnrecognizedClientException", "InvalidSignatureException", "ExpiredTokenException")


@dataclass(frozen=True)
class KmsKeeper:
    """See `slots.Keeper`.

    Args:
        key: Id, ARN or alias of the KMS key.
    """

    key: str

    @property
    def kind(self) -> str:
        """See `Keeper.kind`."""
        return KIND

    @property
    def forgets(self) -> bool:
        """See `Keeper.forgets`: the KMS key stays."""
        return False

    def describe(self, entropy: Callable[[int], bytes]) -> Mapping[str, Any]:
        """See `Keeper.describe`; UsageError unless the key is there, in force and for encryption."""
        del entropy
        if not self.key:
            raise UsageError("no KMS key named")
        found = self._ask("describe_key", KeyId=self.key)["KeyMetadata"]
        if found.get("KeyState") != "Enabled" or found.get("KeyUsage") != "ENCRYPT_DECRYPT":
            raise UsageError(f"the KMS key is {found.get('KeyState')}, or is not for encryption")
        return {"key": str(found["Arn"])}

    def owns(self, head: SlotHead) -> bool:
        """See `Keeper.owns`: any slot of this kind says itself which key it is under."""
        return head.kind == KIND

    def wrap(self, head: SlotHead, epoch_key: bytes) -> bytes:
        """See `Keeper.wrap`."""
        kek = random_bytes(KEY_BYTES)
        asked = self._ask("encrypt", KeyId=_key_of(head), Plaintext=kek, EncryptionContext=_context(head))
        blob = bytes(asked["CiphertextBlob"])
        return len(blob).to_bytes(4, "little") + blob + wrap(kek, epoch_key, head.ad())

    def unwrap(self, head: SlotHead, wrapped: bytes) -> bytes:
        """See `Keeper.unwrap`."""
        end = 4 + int.from_bytes(wrapped[:4], "little")
        if not 4 < end < len(wrapped):
            raise IntegrityError("a KMS slot cannot be read")
        blob = wrapped[4:end]
        asked = self._ask("decrypt", KeyId=_key_of(head), CiphertextBlob=blob, EncryptionContext=_context(head))
        try:
            return unwrap(bytes(asked["Plaintext"]), wrapped[end:], head.ad())
        except StrongroomError:
            raise KeysError(_REFUSED) from None

    def destroy(self, head: SlotHead) -> None:
        """See `Keeper.destroy`: the KMS key is its owner's."""

    @cached_property
    def _client(self) -> Any:
        import botocore.session
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        session = botocore.session.get_session()
        parts = self.key.split(":")
        region = parts[3] if len(parts) > 5 else None
        try:
            return session.create_client(
                "kms", region_name=region, config=Config(connect_timeout=SECONDS, read_timeout=SECONDS)
            )
        except BotoCoreError as error:
            raise UsageError(
                f"AWS KMS cannot be asked ({type(error).__name__})", hint="AWS_REGION, or a key named by its ARN"
            ) from None

    def _ask(self, call: str, **arguments: Any) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        try:
            return getattr(self._client, call)(**arguments)
        except NoCredentialsError:
            raise KeysError("AWS KMS is asked without credentials", hint="the usual AWS chain gives them") from None
        except ClientError as error:
            raise _told(str(error.response.get("Error", {}).get("Code", ""))) from None
        except BotoCoreError as error:
            raise UnavailableError(f"AWS KMS does not answer ({type(error).__name__})") from None


def _told(code: str) -> StrongroomError:
    if code in _DENIED:
        return KeysError("AWS KMS refuses these credentials", hint="the key's policy says who may use it")
    if code in _GONE:
        return KeysError(f"the KMS key cannot be used ({code})", hint="is it enabled, and not about to be deleted?")
    if code in {"InvalidCiphertextException", "IncorrectKeyException"}:
        return KeysError(_REFUSED)
    return UnavailableError(f"AWS KMS does not answer as it should ({code or 'no code'})")


def _key_of(head: SlotHead) -> str:
    key = head.more.get("key")
    if not isinstance(key, str) or not key:
        raise IntegrityError("a KMS slot cannot be read")
    return key


def _context(head: SlotHead) -> dict[str, str]:
    """Every byte of the slot's head, in a few words that CloudTrail can be searched for."""
    return {
        "strongroom:room": head.room_id.hex(),
        "strongroom:epoch": str(head.epoch),
        "strongroom:head": hashlib.sha256(head.ad()).hexdigest(),
    }
