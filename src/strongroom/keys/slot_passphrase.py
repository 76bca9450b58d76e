"""The passphrase slot: the epoch key under a key made of a passphrase by Argon2id.

Rules it keeps:

1. Parameters below the accepted minimum are refused before any work, so that nobody is made to type a passphrase
   into a weak one.
2. Every passphrase that does not open gives the same message, after the same work.
3. It never forgets: whoever copied the file and learns the passphrase opens that epoch, also after the file is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from strongroom.errors import IntegrityError, KeysError, StrongroomError, UsageError
from strongroom.keys.slots import SlotHead, whole
from strongroom.seal.passphrase import Argon2Params, argon2id
from strongroom.seal.wrap import unwrap, wrap

KIND = "passphrase"
SALT_BYTES = 16
MEMORY_KIB_MIN, PASSES_MIN = 19 * 1024, 2
MEMORY_KIB_MAX, PASSES_MAX, LANES_MAX = 4 * 1024 * 1024, 64, 64
_REFUSED = "the passphrase does not open this keymaster"


@dataclass(frozen=True)
class PassphraseKeeper:
    """See `slots.Keeper`.

    Args:
        passphrase: Not empty.
        params: Cost of a new slot; a slot that is opened states its own.
    """

    passphrase: str = field(repr=False)
    params: Argon2Params = field(default_factory=Argon2Params)

    @property
    def kind(self) -> str:
        """See `Keeper.kind`."""
        return KIND

    @property
    def forgets(self) -> bool:
        """See `Keeper.forgets`: a file can have been copied."""
        return False

    def describe(self, entropy: Callable[[int], bytes]) -> Mapping[str, Any]:
        """See `Keeper.describe`."""
        if not self.passphrase:
            raise UsageError("the passphrase is empty")
        if not _acceptable(self.params):
            raise UsageError("the Argon2id parameters are outside the accepted range")
        return {"argon2id": asdict(self.params), "salt": entropy(SALT_BYTES).hex()}

    def owns(self, head: SlotHead) -> bool:
        """See `Keeper.owns`: a passphrase may be tried on any."""
        return head.kind == KIND

    def wrap(self, head: SlotHead, epoch_key: bytes) -> bytes:
        """See `Keeper.wrap`."""
        return wrap(self._stretch(head), epoch_key, head.ad())

    def unwrap(self, head: SlotHead, wrapped: bytes) -> bytes:
        """See `Keeper.unwrap`; IntegrityError for a slot that asks for less work than the accepted minimum."""
        key = self._stretch(head)
        try:
            return unwrap(key, wrapped, head.ad())
        except StrongroomError:
            raise KeysError(_REFUSED) from None

    def destroy(self, head: SlotHead) -> None:
        """See `Keeper.destroy`: all there is lies in the file."""

    def _stretch(self, head: SlotHead) -> bytes:
        try:
            cost = head.more["argon2id"]
            params = Argon2Params(*(whole(cost[name]) for name in ("memory_kib", "passes", "lanes")))
            salt = bytes.fromhex(head.more["salt"])
        except (ValueError, KeyError, TypeError):
            raise IntegrityError("a passphrase slot cannot be read") from None
        if not _acceptable(params) or len(salt) != SALT_BYTES:
            raise IntegrityError("a passphrase slot states Argon2id parameters outside the accepted range")
        return argon2id(self.passphrase, salt, params)


def _acceptable(params: Argon2Params) -> bool:
    return (
        MEMORY_KIB_MIN <= params.memory_kib <= MEMORY_KIB_MAX
        and PASSES_MIN <= params.passes <= PASSES_MAX
        and 1 <= params.lanes <= LANES_MAX
    )
