"""The command itself: its verbs, and how errors are told.

Errors go to stderr as `strongroom: error: …`, then `strongroom: hint: …`. Exit codes: 2 usage, 3 denied, 4 integrity,
5 not found, 6 unavailable, 7 conflict, 130 interrupted; 1 is a defect.
"""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from strongroom.cli import (
    actor,
    approve,
    canaries,
    check,
    compact,
    copy,
    create,
    draft,
    erase,
    explain,
    export,
    find,
    freeze,
    get,
    hold,
    key,
    keymaster,
    keys,
    log,
    open_code,
    policy,
    put,
    rejects,
    restore,
    retention,
    schema,
    serve,
    signin,
    sql,
    tokens,
    trace,
    verify,
    witness,
)
from strongroom.cli.common import RUNNING, minute
from strongroom.errors import BudgetError, StrongroomError, UnavailableError, UsageError

EXIT_INTERRUPTED = 130
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

app = typer.Typer(
    name="strongroom",
    help="Keep personal records sealed per person; every read has a purpose, a budget and a line in the log.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

VERBS = (
    create, draft, put, get, find, sql, export, tokens, canaries, trace, explain, log, check, compact, copy, restore,
    rejects, erase, hold, retention, verify, schema, policy, key, keys, keymaster, serve, actor, signin, approve,
    freeze, witness, open_code,
)  # fmt: skip
for verb in VERBS:
    verb.add_to(app)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"strongroom {version('strongroom')}")
        raise typer.Exit


@app.callback()
def _before(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Keep personal records sealed per person; every read has a purpose, a budget and a line in the log."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code."""
    _no_core_dumps()
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _refuse_broken_text(words)
        RUNNING.set(_verb_of(words))
        if app(args=words, standalone_mode=False) == EXIT_INTERRUPTED:
            raise KeyboardInterrupt
    except StrongroomError as error:
        _tell("error", str(error))
        hint = _hint(error)
        if hint:
            _tell("hint", hint)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        _tell("error", "interrupted; nothing is half done, and what was charged stays charged")
        sys.exit(EXIT_INTERRUPTED)
    except Exception as error:  # noqa: BLE001  a traceback could show a value: its place is told instead
        sys.exit(_usage(error) if hasattr(error, "format_message") else _defect(error))


def _hint(error: StrongroomError) -> str | None:
    """What to do about an error; of a spent budget also when it lets more through."""
    if not isinstance(error, BudgetError) or error.resets_at is None:
        return error.hint
    when = f"as much fits again from {minute(error.resets_at)} UTC on"
    return when if error.hint is None else f"{when}; {error.hint}"


def _verb_of(words: Sequence[str]) -> str:
    """The verb that stands on a command line, with its group; empty where none does."""
    groups = {group.name for group in app.registered_groups}
    first = words[0] if words else ""
    if first in groups:
        return " ".join(words[:2])
    return first if first in {command.name for command in app.registered_commands} else ""


def _refuse_broken_text(words: Sequence[str]) -> None:
    if any(0xD800 <= ord(letter) <= 0xDFFF for word in words for letter in word):
        raise UsageError("an argument is not UTF-8 text", hint="send a value on stdin; name a file by a pattern")


def _usage(error: Any) -> int:
    """Tell a mistake on the command line: the names of options and arguments, never the word that was typed."""
    kind = type(error).__name__
    parameter = _parameter(error)
    if kind == "NoArgsIsHelpError":
        print(error.format_message(), file=sys.stderr)
        return int(error.exit_code)
    if kind == "MissingParameter":
        _tell("error", f"{parameter} is missing")
    elif kind == "NoSuchOption":
        _tell("error", f"there is no option {error.option_name.partition('=')[0]}")
    elif parameter:
        _tell("error", f"{parameter} does not take this value")
    elif "No such command" in error.format_message():
        _tell("error", "there is no such verb")
    elif "extra argument" in error.format_message():
        _tell("error", "there are more arguments than the verb takes")
    elif kind == "BadOptionUsage":
        _tell("error", f"option {error.option_name} is not used like this")
    else:
        _tell("error", "the command line is not understood")
    verb = getattr(getattr(error, "ctx", None), "info_name", None)
    known = verb in {command.name for command in app.registered_commands}
    _tell("hint", f"`strongroom {verb if known else ''}{' ' if known else ''}--help` lists what it takes")
    return int(error.exit_code)


def _parameter(error: Any) -> str | None:
    """The option or argument that an error is about, as it is typed."""
    parameter = getattr(error, "param", None)
    if parameter is None:
        return None
    if parameter.param_type_name == "argument":
        return f"argument {parameter.name.upper()}"
    return f"option {parameter.opts[0]}"


def _defect(error: Exception) -> int:
    """Tell an error that is nobody's mistake but ours, or the machine's: where it was, and no value of it."""
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        _tell("error", "the disk is full")
        _tell("hint", "free some space, then try again")
        return UnavailableError.exit_code
    last = traceback.extract_tb(error.__traceback__)[-1]
    _tell("error", f"a defect of strongroom: {type(error).__name__} at {Path(last.filename).name}:{last.lineno}")
    _tell("hint", "please report this line; it holds no value of a record")
    return StrongroomError.exit_code


def _tell(kind: str, text: str) -> None:
    one_line = " ".join(text.split()).removesuffix(".")
    print(f"strongroom: {kind}: {one_line}", file=sys.stderr)


def _no_core_dumps() -> None:
    """A core dump would hold opened values and keys."""
    try:
        import resource
    except ImportError:  # not on this platform: there is nothing to switch off
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
