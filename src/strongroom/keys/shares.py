"""A passphrase in shares: any m of n give it back, fewer say nothing (Shamir's scheme, in the words of SLIP-0039)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from strongroom.errors import KeysError, UsageError
from strongroom.seal.entropy import random_bytes

SECRET_BYTES = 32
SHARES_MAX = 16


def split_passphrase(
    threshold: int, shares: int, entropy: Callable[[int], bytes] = random_bytes
) -> tuple[str, list[str]]:
    """Draw a passphrase and split it; returns it and the shares, 33 words each.

    Args:
        threshold: How many shares give it back, at least 2.
        shares: How many there are.
        entropy: Source of the passphrase.

    Raises:
        UsageError: There cannot be so many, or the library is not installed.
    """
    if not 2 <= threshold <= shares <= SHARES_MAX:
        raise UsageError(f"at least 2 of at most {SHARES_MAX} shares open a slot")
    secret = entropy(SECRET_BYTES)
    (found,) = _library().generate_mnemonics(1, [(threshold, shares)], secret, iteration_exponent=0)
    return _passphrase(secret), list(found)


def combine_passphrase(shares: Sequence[str]) -> str:
    """The passphrase that shares give back.

    Raises:
        KeysError: They are too few, of different passphrases, or one was mistyped; which is not told apart.
    """
    library = _library()
    try:
        return _passphrase(library.combine_mnemonics([" ".join(share.split()).lower() for share in shares]))
    except (library.MnemonicError, ValueError, IndexError):
        raise KeysError(
            "these shares give no passphrase",
            hint="enough of them, each of the same slot, each with all of its words",
        ) from None


@dataclass(frozen=True)
class Share:
    """One share: of which set, its number there, and how many of the set give the passphrase back."""

    of: int
    number: int
    threshold: int
    text: str = field(repr=False)


def read_share(text: str) -> Share:
    """A share as it is typed.

    Raises:
        KeysError: It is none, or was mistyped.
    """
    library = _library()
    words = " ".join(text.split()).lower()
    try:
        found = library.Share.from_mnemonic(words)
    except (library.MnemonicError, ValueError, IndexError):
        raise KeysError("this is no share", hint="all of its words, as they were written down") from None
    return Share(found.identifier, found.index, found.member_threshold, words)


def _passphrase(secret: bytes) -> str:
    return secret.hex()


def _library() -> Any:
    try:
        import shamir_mnemonic
    except ImportError:
        raise UsageError("shares need shamir-mnemonic", hint="pip install 'strongroom[shares]'") from None
    return shamir_mnemonic
