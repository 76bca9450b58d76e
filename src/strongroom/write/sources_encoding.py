"""Which encoding a text is in: named, or told from its bytes."""

from __future__ import annotations

import codecs
import re

from strongroom.errors import InputError

_SUPERSETS = {"gbk": "gb18030", "gb2312": "gb18030", "ascii": "utf-8", "utf-8-sig": "utf-8"}
_ENCODINGS = frozenset(
    [
        "utf-8",
        "gb18030",
        "big5",
        "big5hkscs",
        "cp950",
        "iso8859-1",
        "cp1252",
        "shift_jis",
        "cp932",
        "euc_jp",
        "euc_kr",
        "cp949",
    ]
)
"""Encodings in which a comma, a quote and a line end are never part of another character."""


def known_encoding(name: str) -> str:
    """The canonical name of an encoding that can be read; GBK and GB2312 are read as GB18030, which holds them.

    Raises:
        InputError: It is unknown, or commas and line ends may be parts of other characters in it.
    """
    try:
        found = codecs.lookup(name).name
    except (LookupError, ValueError):
        found = ""
    found = _SUPERSETS.get(found, found)
    if found not in _ENCODINGS:
        raise InputError(
            "this encoding cannot be read", hint=f"convert the file to UTF-8; read are {', '.join(sorted(_ENCODINGS))}."
        )
    return found


_LONE = re.compile("[\udc80-\udcff]")
_WIDE = re.compile("[^\x00-\x7f]")
_HAN = re.compile("[\u3000-\u303f\u3400-\u9fff\uf900-\ufaff\uff00-\uffef\u2010-\u2027\u00b7]")


def detect_encoding(sample: bytes) -> str:
    """Tell UTF-8 from GB18030 by which of them makes sense of the bytes; UTF-8 where neither does.

    Args:
        sample: Whole lines with at least one byte that is not ASCII.
    """
    try:
        sample.decode("utf-8")
    except UnicodeDecodeError:
        pass
    else:
        return "utf-8"
    as_utf8 = sample.decode("utf-8", "surrogateescape")
    bad = len(_LONE.findall(as_utf8))
    good = len(_WIDE.findall(as_utf8)) - bad
    if good >= 2 * bad:
        return "utf-8"
    as_gb = sample.decode("gb18030", "surrogateescape")
    wide, bad, han = len(_WIDE.findall(as_gb)), len(_LONE.findall(as_gb)), len(_HAN.findall(as_gb))
    return "gb18030" if bad * 20 <= wide and han >= 0.7 * (wide - bad) else "utf-8"
