"""Values on stdout: records field by field, personal ones on a terminal only with --show; texts of others' files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from strongroom.cli.common import cell_text, print_json
from strongroom.errors import UsageError


def print_records(records: Sequence[Any], *, as_json: bool, show: bool) -> None:
    """Records, field by field. On a terminal the values stand there only with --show."""
    hidden = hides_values(show=show)
    if as_json:
        if hidden:
            raise refuse_terminal()
        print_json([{**record, "_withheld": sorted(record.withheld)} for record in records])
        return
    for number, record in enumerate(records):
        if number:
            print()
        for name in record:
            value = "(--show prints it)" if hidden else cell_text(record[name])
            print(f"{name:<18} {value}{'   (masked)' if name in record.masked else ''}")
        if record.withheld:
            print(f"{'withheld':<18} {', '.join(sorted(record.withheld))}")


def harmless(text: str) -> str:
    """A text of a file that anybody may have made: what would steer a terminal shows as a sign."""
    return "".join(one if one.isprintable() else "\ufffd" for one in text)


def hides_values(*, show: bool) -> bool:
    """Whether personal values stay out of stdout: on a terminal, unless --show."""
    return sys.stdout.isatty() and not show


def refuse_terminal() -> UsageError:
    """The error for values that would go to a terminal."""
    return UsageError("personal values to a terminal", hint="--show prints them; or send stdout to a file")
