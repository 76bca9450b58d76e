"""Words a schema may use: normalisation steps, masks, phone regions; and names that tell few values.

Kept apart from `normalise` and `mask`, which do the work, so that a schema is parsed without them.
"""

from __future__ import annotations

import re

STEPS = ("trim", "upper", "lower", "casefold", "nfkc", "digits", "halfwidth", "id", "email")
PHONE_STEP = "phone:"

MASKS: dict[str, tuple[str, ...]] = {
    "all": ("string",),
    "last4": ("string",),
    "first1": ("string",),
    "first3last4": ("string",),
    "email": ("string",),
    "year": ("date", "timestamp"),
}
"""Each mask and the types it is for."""

_PHONE_REGIONS_TEXT = """
    AC AD AE AF AG AI AL AM AO AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT
    BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER
    ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GT GU GW GY HK HN HR HT HU ID IE
    IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV
    LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP
    NR NU NZ OM PA PE PF PG PH PK PL PM PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK
    SL SM SN SO SR SS ST SV SX SY SZ TA TC TD TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG US UY UZ VA
    VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW
"""
PHONE_REGIONS = frozenset(_PHONE_REGIONS_TEXT.split())
"""ISO 3166-1 regions that the phone library knows."""

_FEW_VALUES_TEXT = """
    sex gender ethnicity ethnic race religion nationality citizenship education degree marital married
    blood hukou caste party disability orientation country province state status
    性别 民族 种族 宗教 信仰 国籍 学历 教育 文化程度 婚姻 婚姻状况 血型 政治面貌 户口类型 省份
"""
_FEW_VALUES = frozenset(_FEW_VALUES_TEXT.split())


def is_step(step: str) -> bool:
    """Whether this is a normalisation step."""
    return step in STEPS or (step.startswith(PHONE_STEP) and step[len(PHONE_STEP) :] in PHONE_REGIONS)


def sounds_like_few_values(name: str) -> bool:
    """Whether a field's name says that it has few distinct values (sex, ethnicity, education ...)."""
    words = re.split(r"[_\d]+", name.casefold())
    return name.casefold() in _FEW_VALUES or any(word in _FEW_VALUES for word in words)
