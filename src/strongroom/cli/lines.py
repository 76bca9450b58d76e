"""Lists that a verb is given: a file or stdin, one item a line."""

from __future__ import annotations

import sys
from pathlib import Path

from strongroom.errors import UsageError

LINES_BYTES_MAX = 256 << 20
STDIN = Path("-")


def read_lines(path: Path, what: str) -> list[str]:
    """The lines of a file, or of stdin for `-`, without those that are blank.

    Args:
        path: The file, in UTF-8.
        what: What a line is, for messages.

    Raises:
        UsageError: It cannot be read, is not UTF-8, has no line, or more than LINES_BYTES_MAX.
    """
    name = "stdin" if path == STDIN else str(path)
    try:
        if path == STDIN:
            data = sys.stdin.buffer.read(LINES_BYTES_MAX + 1)
        else:
            with path.open("rb") as file:
                data = file.read(LINES_BYTES_MAX + 1)
        whole = data if len(data) <= LINES_BYTES_MAX else b""  # too long a one is refused below, wherever it was cut
        found = [line.strip() for line in whole.decode("utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError):
        raise UsageError(f"cannot read {name} as UTF-8 text", hint=f"one {what} a line") from None
    if not found:
        raise UsageError(f"{name} names no {what}, or has more than {LINES_BYTES_MAX >> 20} MiB", hint="one a line")
    return found
