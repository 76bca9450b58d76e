"""A signing key in a JSON file that only its owner may read: {"strongroom": kind, "version": …, …, "seed": base64}."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from strongroom.durable import write_new
from strongroom.errors import ConflictError, NotFoundError, UsageError

FILE_BYTES_MAX = 1 << 14
SEED_BYTES = 32


def write_key(path: Path, kind: str, version: int, said: Mapping[str, str], seed: bytes) -> None:
    """Write the file, durably, readable by its owner alone.

    Args:
        path: Where nothing is yet.
        kind: What it is, in a word.
        version: Of its form.
        said: What else it says.
        seed: 32 B.

    Raises:
        ConflictError: There is such a file.
    """
    text = {"strongroom": kind, "version": version, **said, "seed": base64.b64encode(seed).decode()}
    try:
        write_new(path, json.dumps(text, indent=1, ensure_ascii=False) + "\n")
    except FileExistsError:
        raise ConflictError(f"{path} exists", hint=f"a {kind} never takes the place of another file") from None


def read_key(path: Path, kind: str, version: int, what: str, lost: str) -> tuple[dict[str, Any], bytes]:
    """What a file says, and its seed (32 B).

    Args:
        path: The file.
        kind: What it must be.
        version: Of the only form that is read.
        what: What messages call it.
        lost: What to do when others could read it.

    Raises:
        NotFoundError: There is none.
        UsageError: It is none, or others may read it.
    """
    wrong = UsageError(f"{path} is no {what}")
    try:
        state = path.stat()
        if state.st_size > FILE_BYTES_MAX or not stat.S_ISREG(state.st_mode):
            raise wrong
        if state.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise UsageError(f"others may read {path}", hint=f"`chmod 600 {path}`{lost}")
        said: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if said["strongroom"] != kind or said["version"] != version:
            raise UsageError(f"{path} is no {what} that this version reads")
        seed = base64.b64decode(said["seed"], validate=True)
    except FileNotFoundError:
        raise NotFoundError(f"there is no {what} at {path}") from None
    except OSError as error:
        raise UsageError(f"cannot read the {what} {path} ({type(error).__name__})") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise wrong from None
    if len(seed) != SEED_BYTES:
        raise wrong
    return said, seed
