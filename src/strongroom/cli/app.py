"""The command itself: its verbs, and how errors are told.

Errors go to stderr as `strongroom: error: …`, then `strongroom: hint: …`. Exit codes: 2 usage, 3 denied, 4 integrity,
5 not found, 6 unavailable, 7 conflict, 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from strongroom.cli import (
    check,
    compact,
    create,
    draft,
    explain,
    find,
    get,
    log,
    policy,
    put,
    rejects,
    schema,
    sql,
)
from strongroom.errors import StrongroomError

EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="strongroom",
    help="Keep personal records sealed per person; every read has a purpose, a budget and a line in the log.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

for verb in (create, draft, put, get, find, sql, explain, log, check, compact, rejects, schema, policy):
    verb.add_to(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code."""
    _no_core_dumps()
    try:
        app(args=list(arguments) if arguments is not None else None, standalone_mode=False)
    except StrongroomError as error:
        _tell("error", str(error))
        if error.hint:
            _tell("hint", error.hint)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _tell("error", "interrupted; the room is as it was")
        sys.exit(EXIT_INTERRUPTED)
    except typer.Abort:
        _tell("error", "given up")
        sys.exit(EXIT_INTERRUPTED)
    except Exception as error:
        sys.exit(_usage(error))


def _usage(error: Exception) -> int:
    """Exit code of a mistake on the command line; anything else is raised again."""
    show = getattr(error, "format_message", None)
    if show is None:
        raise error
    _tell("error", show())
    _tell("hint", "`strongroom VERB --help` lists what it takes")
    return int(getattr(error, "exit_code", 2))


def _tell(kind: str, text: str) -> None:
    print(f"strongroom: {kind}: {text}", file=sys.stderr)


def _no_core_dumps() -> None:
    """A core dump would hold opened values and keys."""
    try:
        import resource
    except ImportError:  # not on this platform: there is nothing to switch off
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
