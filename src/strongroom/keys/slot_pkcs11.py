"""The token slot: the epoch key under an AES-256 key that was made in a PKCS#11 token and cannot leave it.

Rules it keeps:

1. The key object is made in the token, sensitive and not extractable, for encrypting and decrypting only; its label
   names room and epoch, its id is in the slot file.
2. The wrap is AES-256-GCM (NIST SP 800-38D) in the token with a random nonce, bound to the slot's head. PKCS#11's own
   AES key wrap binds nothing.
3. One session per use, closed before anything else is done, one at a time: a session is not safe for threads, and an
   open one does not survive a fork.
4. A wrong PIN is tried once, on the one token that was named: tokens lock themselves.
5. When the key object is destroyed, nobody opens this slot again; backups of a token are its maker's matter.

The library `python-pkcs11` is loaded when a token is used, never before.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from strongroom.errors import IntegrityError, KeysError, StrongroomError, UnavailableError, UsageError
from strongroom.keys.slots import SlotHead
from strongroom.seal.entropy import random_bytes

KIND = "pkcs11"
OBJECT_ID_BYTES = 16
NONCE_BYTES, TAG_BITS = 12, 128
_LABEL = "strongroom"
_SESSION = threading.Lock()


@dataclass(frozen=True)
class TokenKeeper:
    """See `slots.Keeper`.

    Args:
        module: Path of the token's PKCS#11 module, a shared library; it runs in this process.
        token: Label of the token.
        pin: User PIN of the token.
    """

    module: str
    token: str
    pin: str = field(repr=False)

    @property
    def kind(self) -> str:
        """See `Keeper.kind`."""
        return KIND

    @property
    def forgets(self) -> bool:
        """See `Keeper.forgets`."""
        return True

    def describe(self, entropy: Callable[[int], bytes]) -> Mapping[str, Any]:
        """See `Keeper.describe`."""
        if not self.token or not self.pin or not self.module:
            raise UsageError("a token slot needs a module, a token's label and a PIN")
        return {"token": self.token, "object": entropy(OBJECT_ID_BYTES).hex()}

    def owns(self, head: SlotHead) -> bool:
        """See `Keeper.owns`: only slots in this token."""
        return head.kind == KIND and head.more.get("token") == self.token

    def wrap(self, head: SlotHead, epoch_key: bytes) -> bytes:
        """See `Keeper.wrap`."""
        with self._session(write=True) as (p11, session):
            label = _label(head.room_id, head.epoch)
            flags = p11.MechanismFlag
            key = session.generate_key(
                p11.KeyType.AES,
                256,
                id=_object_id(head),
                label=label,
                store=True,
                capabilities=flags.ENCRYPT | flags.DECRYPT,
                template={p11.Attribute.SENSITIVE: True, p11.Attribute.EXTRACTABLE: False},
            )
            if key[p11.Attribute.EXTRACTABLE] or not key[p11.Attribute.SENSITIVE]:
                key.destroy()
                raise IntegrityError(f"token {self.token} makes keys that can leave it")
            nonce = random_bytes(NONCE_BYTES)
            param = p11.GCMParams(nonce, head.ad(), TAG_BITS)
            return nonce + bytes(key.encrypt(epoch_key, mechanism=p11.Mechanism.AES_GCM, mechanism_param=param))

    def unwrap(self, head: SlotHead, wrapped: bytes) -> bytes:
        """See `Keeper.unwrap`."""
        with self._session() as (p11, session):
            found = list(_objects(p11, session, {p11.Attribute.ID: _object_id(head)}))
            if len(found) != 1:
                raise KeysError(f"token {self.token} holds no key of this slot")
            param = p11.GCMParams(wrapped[:NONCE_BYTES], head.ad(), TAG_BITS)
            try:
                opened = found[0].decrypt(wrapped[NONCE_BYTES:], mechanism=p11.Mechanism.AES_GCM, mechanism_param=param)
            except p11.PKCS11Error:
                raise KeysError(f"the key in token {self.token} does not open this slot") from None
            return bytes(opened)

    def destroy(self, head: SlotHead) -> None:
        """See `Keeper.destroy`."""
        with self._session(write=True) as (p11, session):
            for key in list(_objects(p11, session, {p11.Attribute.ID: _object_id(head)})):
                key.destroy()

    def look_again(self) -> None:
        """Let the module see which tokens are there now: it looks once by itself."""
        p11 = _library()
        with _SESSION:
            try:
                p11.lib(self.module).reinitialize()
            except p11.PKCS11Error as error:
                kind = type(error).__name__
                raise UnavailableError(f"the module of token {self.token} does not answer: {kind}") from None

    @contextmanager
    def _session(self, *, write: bool = False) -> Iterator[tuple[ModuleType, Any]]:
        """A session of its own, and the library; the library's errors become ours, without PIN or value."""
        p11 = _library()
        from pkcs11 import exceptions as p11errors

        with _SESSION:
            try:
                module = p11.lib(self.module)
                token = module.get_token(token_label=self.token)
                with token.open(rw=write, user_pin=self.pin) as session:
                    yield p11, session
            except StrongroomError:
                raise
            except (p11errors.PinIncorrect, p11errors.PinInvalid, p11errors.PinLenRange):
                raise KeysError(f"the PIN does not open token {self.token}") from None
            except p11errors.PinLocked:
                raise KeysError(f"token {self.token} has locked its PIN") from None
            except (p11errors.NoSuchToken, p11errors.TokenNotPresent, p11errors.TokenNotRecognised):
                raise UnavailableError(f"token {self.token} is not there") from None
            except p11errors.MultipleTokensReturned:
                raise UsageError(f"several tokens are labelled {self.token}") from None
            except p11.PKCS11Error as error:
                raise UnavailableError(
                    f"token {self.token} does not answer: {type(error).__name__}",
                    hint="check the path of the module and that the token is initialised",
                ) from None


def _library() -> ModuleType:
    try:
        import pkcs11
    except ImportError:
        raise UsageError(
            "token slots need the Python package python-pkcs11", hint="pip install 'strongroom[pkcs11]'"
        ) from None
    return pkcs11


def _objects(p11: ModuleType, session: Any, wanted: Mapping[Any, Any]) -> Iterator[Any]:
    found: Iterator[Any] = session.get_objects({p11.Attribute.CLASS: p11.ObjectClass.SECRET_KEY, **wanted})
    return found


def _label(room_id: bytes, epoch: int) -> str:
    return f"{_LABEL} {room_id.hex()} {epoch}"


def _object_id(head: SlotHead) -> bytes:
    try:
        ident = bytes.fromhex(head.more["object"])
    except (ValueError, KeyError, TypeError):
        raise IntegrityError("a token slot cannot be read") from None
    if len(ident) != OBJECT_ID_BYTES:
        raise IntegrityError("a token slot cannot be read")
    return ident
