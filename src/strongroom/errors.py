"""Every error this library raises, split by what the caller does next.

    StrongroomError
    ├── UsageError                 correct the call, the file or the setting
    │   ├── SchemaError            the schema says something it may not
    │   ├── PolicyError            the policy says something it may not
    │   └── InputError             a file or record cannot be read as what it claims to be
    ├── DeniedError                ask for less, ask somebody else, or wait
    │   ├── BudgetError            the budget of persons or look-ups is spent
    │   └── KeysError              the passphrase or token does not open the keymaster
    ├── IntegrityError             stop: what is stored is not what was written
    ├── NotFoundError              there is no such thing, or not for this purpose
    │   └── ErasedError            there was, and this purpose may know that
    ├── UnavailableError           try again later: a store or a database does not answer
    └── ConflictError              somebody else was first: look again, then decide

Messages carry names, ids and counts, never values. A hint is separate text.
"""

from __future__ import annotations


class StrongroomError(Exception):
    """Base of every error raised on purpose by this library.

    Args:
        message: What was wrong and where (file, row, field): never the value.
        hint: What to do about it, as its own sentence.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(StrongroomError):
    """Correct the call, the file or the setting."""

    exit_code = 2


class SchemaError(UsageError):
    """The schema says something it may not."""


class PolicyError(UsageError):
    """The policy says something it may not."""


class InputError(UsageError):
    """A file or record cannot be read as what it claims to be."""


class DeniedError(StrongroomError):
    """Ask for less, ask somebody else, or wait.

    Args:
        message: What was refused.
        rule: The name of the rule that refused, as `explain` prints it.
        hint: What to do about it.
    """

    exit_code = 3

    def __init__(self, message: str, *, rule: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.rule = rule


class BudgetError(DeniedError):
    """The budget of persons or look-ups is spent.

    Args:
        message: Which budget refused.
        remaining: What is left of it now.
        resets_at: Seconds since 1970 (UTC) at which some of it comes back, where that is known.
        rule: The scope and window that refused.
        hint: What to do about it.
    """

    def __init__(
        self,
        message: str,
        *,
        remaining: int = 0,
        resets_at: int | None = None,
        rule: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, rule=rule, hint=hint)
        self.remaining = remaining
        self.resets_at = resets_at


class KeysError(DeniedError):
    """The passphrase or token does not open the keymaster."""


class IntegrityError(StrongroomError):
    """Stop: what is stored is not what was written."""

    exit_code = 4


class NotFoundError(StrongroomError):
    """There is no such thing, or not for this purpose."""

    exit_code = 5


class ErasedError(NotFoundError):
    """There was, and this purpose may know that."""


class UnavailableError(StrongroomError):
    """Try again later: a store or a database does not answer."""

    exit_code = 6


class ConflictError(StrongroomError):
    """Somebody else was first: look again, then decide."""

    exit_code = 7
