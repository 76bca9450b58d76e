"""The caller's side of a sign-in: a fresh key pair asks the keymaster to let it in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from strongroom.errors import DeniedError
from strongroom.identity.commitment import SALT_BYTES, newcomer_id, token_nonce
from strongroom.identity.credential import Credential, new_credential
from strongroom.identity.signing import RequestSigner
from strongroom.keyserver.asking import Asking, raise_trouble, read_answer
from strongroom.keyserver.frames import pack
from strongroom.keyserver.newcomers import Challenge, SignedIn, read_challenge, read_signed_in


class Newcomer(Asking):
    """A key pair that nobody knows yet, drawn here for one sign-in at one keymaster.

    Args:
        url: As `https://keys.example`.
        room: Its id, 16 B.
        authorities: File with the certificates that the server's must lead to; None for those of the machine.
        clock: Seconds since 1970.
        entropy: Gives the key pair, salt and nonces.
    """

    def __init__(
        self,
        url: str,
        room: bytes,
        authorities: Path | None,
        clock: Callable[[], float],
        entropy: Callable[[int], bytes],
    ) -> None:
        own = new_credential(room, "", entropy)
        super().__init__(url, own, authorities, clock, entropy)
        self._seed = own.seed
        self._signer = RequestSigner(own.seed, newcomer_id(own.public_key), clock, entropy)
        self._salt = entropy(SALT_BYTES)
        self.public_key = own.public_key

    @property
    def nonce(self) -> str:
        """What an id_token must carry to let this key pair in."""
        return token_nonce(self.room_id, self.public_key, self._salt)

    def challenge(self) -> Challenge:
        """Ask for what a passkey is to answer.

        Raises:
            DeniedError: Nobody signs in there.
        """
        found: Challenge = read_answer(read_challenge, self._present("signin.begin", {}))
        return found

    def by_token(self, token: str) -> tuple[Credential, SignedIn]:
        """Show an id_token; the credential is the session's.

        Raises:
            DeniedError: The keymaster does not let it in, and says no more.
        """
        return self._let_in("signin.token", {"salt": self._salt, "token": token})

    def by_passkey(self, challenge: Challenge, answer: str) -> tuple[Credential, SignedIn]:
        """Show what a passkey answered; the credential is the session's.

        Raises:
            DeniedError: The keymaster does not let it in, and says no more.
        """
        said = {"challenge": challenge.challenge, "expires": challenge.expires, "answer": answer}
        return self._let_in("signin.passkey", said)

    def _let_in(self, name: str, said: dict[str, Any]) -> tuple[Credential, SignedIn]:
        found: SignedIn = read_answer(read_signed_in, self._present(name, said))
        return Credential(self.room_id, found.actor, self._seed), found

    def _present(self, name: str, said: dict[str, Any]) -> bytes:
        status, data = self._post(name, pack(said))
        if status == 200:
            return data
        try:
            raise_trouble(status, data)
        except DeniedError as error:
            hint = "the keymaster tells nobody why: its log does"
            raise DeniedError(str(error), rule=error.rule, hint=hint) from None
