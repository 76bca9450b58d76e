"""What the values of a column are, by validators: which kind, and what share of the values are of it.

Check digits are validated with python-stdnum, phone numbers with phonenumbers. A Chinese resident identity number
counts if its birth date and check digit are right: tables of area codes lack many that were in use.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

from strongroom.schema.vocabulary import PHONE_STEP

MATCHED_MIN = 0.8
MATCHED_WITH_HEADER_MIN = 0.4
"""Least share of values for a column to be of a kind; and where the header says the same."""


_PROBE = 200


@dataclass(frozen=True)
class Kind:
    """A kind of value: how it is called, and what a field of it gets.

    `header` is the kind of header that says the same; where `needs_header`, chance could match without it (one number
    in ten has the check digit of a card).
    """

    name: str
    klass: str
    valid: Callable[[str], bool]
    normalise: tuple[str, ...] = ()
    mask: str | None = None
    find: bool = False
    header: str | None = None
    needs_header: bool = False


def _cn_id(text: str) -> bool:
    from stdnum.iso7064 import mod_11_2

    text = text.strip().upper()
    if not re.fullmatch(r"[1-9][0-9]{16}[0-9X]", text):
        return False
    try:
        date(int(text[6:10]), int(text[10:12]), int(text[12:14]))
    except ValueError:
        return False
    return bool(mod_11_2.is_valid(text))


def _stdnum(module: str, pattern: str) -> Callable[[str], bool]:
    form = re.compile(pattern)

    def valid(text: str) -> bool:
        from importlib import import_module

        text = text.strip()
        if not form.fullmatch(text):
            return False
        try:
            return bool(import_module(f"stdnum.{module}").is_valid(text))
        except Exception:  # noqa: BLE001 - some validators raise on codes that their tables lack
            return False

    return valid


def _phone(country: str | None, pattern: str) -> Callable[[str], bool]:
    form = re.compile(pattern)

    def valid(text: str) -> bool:
        import phonenumbers

        text = text.strip()
        if not form.fullmatch(text):
            return False
        try:
            number = phonenumbers.parse(text, country)
        except phonenumbers.NumberParseException:
            return False
        return bool(
            phonenumbers.is_valid_number_for_region(number, country)
            if country
            else phonenumbers.is_valid_number(number)
        )

    return valid


def _pattern(text: str) -> Callable[[str], bool]:
    form = re.compile(text, re.IGNORECASE)
    return lambda value: form.fullmatch(value.strip()) is not None


_GROUPS_TEXT = """
    汉 蒙古 回 藏 维吾尔 苗 彝 壮 布依 朝鲜 满 侗 瑶 白 土家 哈尼 哈萨克 傣 黎 傈僳 佤 畲 高山 拉祜 水 东乡 纳西 景颇
    柯尔克孜 土 达斡尔 仫佬 羌 布朗 撒拉 毛南 仡佬 锡伯 阿昌 普米 塔吉克 怒 乌孜别克 俄罗斯 鄂温克 德昂 保安 裕固 京
    塔塔尔 独龙 鄂伦春 赫哲 门巴 珞巴 基诺
"""
_GROUPS = frozenset(_GROUPS_TEXT.split())


def _ethnic_group(text: str) -> bool:
    text = text.strip()
    return text.endswith("族") and text.removesuffix("族") in _GROUPS


_EMAIL = r"[^\s@,;<>\"]{1,64}@[^\s@,;<>\"]{1,190}\.[a-z\u0080-\uffff]{2,24}"

_PHONE, _ID, _CARD = "phone", "resident identity number", "card or account"
_CN_MOBILE = r"(?:\+?86)?[ -]?1[3-9][0-9][ -]?[0-9]{4}[ -]?[0-9]{4}"
_CN_LANDLINE = r"\(?0[0-9]{2,3}\)?[ -]?[0-9]{7,8}"
_US_PHONE = r"(?:1[ .-]?)?\(?[2-9][0-9]{2}\)?[ .-][0-9]{3}[ .-][0-9]{4}(?:\s*(?:x|ext\.?)\s*[0-9]{1,6})?"
_IBAN = r"[A-Za-z]{2}[0-9]{2}[A-Za-z0-9 ]{10,40}"


def _number(name: str, valid: Callable[[str], bool], header: str | None, *, alone: bool = True) -> Kind:
    return Kind(name, "identity", valid, ("id",), "last4", find=True, header=header, needs_header=not alone)


def _phones(name: str, country: str | None, pattern: str, mask: str = "last4", *, alone: bool = True) -> Kind:
    steps = (f"{PHONE_STEP}{country or 'US'}",)
    valid = _phone(country, pattern)
    return Kind(name, "contact", valid, steps, mask, find=True, header=_PHONE, needs_header=not alone)


KINDS: tuple[Kind, ...] = (
    Kind("names of ethnic groups", "sensitive", _ethnic_group, header="ethnicity"),
    _number("CN resident identity numbers", _cn_id, _ID),
    _number("IBANs", _stdnum("iban", _IBAN), _CARD),
    Kind("e-mail addresses", "contact", _pattern(_EMAIL), ("email",), "email", find=True, header="e-mail"),
    _phones("CN mobile numbers", "CN", _CN_MOBILE, "first3last4"),
    _phones("phone numbers with a country code", None, r"\+[0-9 ().-]{7,20}"),
    _phones("US phone numbers", "US", _US_PHONE),
    _phones("US phone numbers", "US", r"[2-9][0-9]{9}", alone=False),
    _phones("CN phone numbers", "CN", _CN_LANDLINE, alone=False),
    _number("US social security numbers", _stdnum("us.ssn", r"[0-9]{3}-[0-9]{2}-[0-9]{4}"), _ID),
    _number("US social security numbers", _stdnum("us.ssn", r"[0-9]{9}"), _ID, alone=False),
    _number("CN unified social credit codes", _stdnum("cn.uscc", r"[0-9A-Za-z]{18}"), None),
    _number("payment card numbers", _stdnum("luhn", r"[3-6][0-9]{12,18}"), _CARD, alone=False),
    Kind("web addresses", "contact", _pattern(r"(?:https?://|www\.)\S{3,2000}")),
    Kind("IP addresses", "contact", _pattern(r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}")),
)


@dataclass(frozen=True)
class Match:
    """A kind, and the share of the values (weighted by how often each stands) that are of it."""

    kind: Kind
    share: float


def kind_of(values: Sequence[str], counts: Sequence[int], header_kind: str | None) -> Match | None:
    """The kind that most values are of, if enough of them are.

    Args:
        values: Distinct values.
        counts: How often each stands.
        header_kind: What the header says.
    """
    total = sum(counts)
    probe = list(zip(values, counts, strict=True))
    best: Match | None = None
    for kind in KINDS:
        said = kind.header is not None and kind.header == header_kind
        least = MATCHED_WITH_HEADER_MIN if said else MATCHED_MIN
        if not total or (kind.needs_header and not said):
            continue
        few = probe[:_PROBE]
        if sum(n for v, n in few if kind.valid(v)) < 0.75 * least * sum(n for _, n in few):
            continue
        share = sum(n for v, n in probe if kind.valid(v)) / total
        if share >= least and (best is None or share > best.share):
            best = Match(kind, share)
    return best
