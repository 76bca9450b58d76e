"""Says what each field is: a resident id, a phone number, a name, the room's own number, a category or text.

By what the policy declares, else the field's normalisation steps, its values, and the words of its name.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from strongroom.schema.draft_words import meaning_of
from strongroom.schema.model import Field, Table
from strongroom.schema.vocabulary import PHONE_STEP
from strongroom.trace.canary.numbers import digit_matrix
from strongroom.trace.canary.policy import (
    CATEGORY,
    CODE,
    EMAIL,
    NAME,
    OUTSIDE,
    PHONE,
    RESIDENT,
    SUBJECT,
    TEXT,
    CanaryPolicy,
)  # fmt: skip
from strongroom.trace.canary.tokens import encode
from strongroom.trace.canary.values import is_category

Ints = npt.NDArray[np.int64]

_NEARLY_ALL = 0.95
_DISTINCT = 0.9
_CODE_LENGTH_MAX = 48
_OUTSIDE_WORDS = ("resident identity number", "passport", "card or account")
_WEIGHTS = np.array([7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2])
_CHECK = np.frombuffer(b"10X98765432", np.uint8)
_RESIDENT_FORM = "^[1-9][0-9]{5}(18|19|20)[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])[0-9]{3}[0-9X]$"


def kind_of(table: Table, field: Field, column: pa.Array, who: Ints, policy: CanaryPolicy) -> str:
    """What a field is, one of `canary_policy.KINDS`; fields that are no text are categories, codes or text.

    Args:
        table: The field's table.
        field: The field.
        column: The sample's values in the field's type.
        who: Whose row it is.
        policy: What the room says about its canaries.
    """
    declared = policy.kinds.get(f"{table.name}.{field.name}")
    if declared is not None:
        return declared
    if field.name == table.subject:
        return SUBJECT
    values = column.drop_null()
    if field.type != "string":
        unique = field.type == "int" and field.find and _distinct(values) >= _DISTINCT
        return CODE if unique else TEXT
    if len(values) and resident_ids_valid(values).mean() >= _NEARLY_ALL:
        return RESIDENT
    meaning = meaning_of(field.name)
    said = meaning.kind if meaning else ""
    steps = field.normalise
    if any(step.startswith(PHONE_STEP) for step in steps) or (said == "phone" and _share(values, "[0-9].*[0-9]{3}")):
        return PHONE
    if "email" in steps or _share(values, "^[^@\\s]+@[^@\\s]+$"):
        return EMAIL
    if said in _OUTSIDE_WORDS and _share(values, "[0-9]"):
        return OUTSIDE
    if is_category(column, who):
        return CATEGORY
    short = len(values) and (pc.max(pc.utf8_length(values)).as_py() or 0) <= _CODE_LENGTH_MAX
    if short and _share(values, "[0-9]") and _distinct(values) >= _DISTINCT and said in {"", "few values"}:
        return CODE
    if short and field.find and _share(values, "[0-9]"):
        return CODE
    return NAME if said == "name" else TEXT


def _share(values: pa.Array, pattern: str) -> bool:
    if not len(values):
        return False
    hits = pc.sum(pc.match_substring_regex(values, pattern)).as_py() or 0
    return bool(hits >= _NEARLY_ALL * len(values))


def _distinct(values: pa.Array) -> float:
    return len(encode(values)[1]) / len(values) if len(values) else 0.0


def resident_ids_valid(values: pa.Array) -> npt.NDArray[np.bool_]:
    """Which texts are resident ids with a date and the right check character (GB 11643-1999); bool[n]."""
    plain = values.cast(pa.string())
    good = pc.match_substring_regex(plain, _RESIDENT_FORM).fill_null(False).to_numpy(zero_copy_only=False).copy()
    rows = np.flatnonzero(good)
    if len(rows):
        block = digit_matrix(plain.take(pa.array(rows)), 18)
        good[rows] = block[:, 17] == check_characters(block)
    found: npt.NDArray[np.bool_] = good
    return found


def check_characters(block: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """ISO 7064 MOD 11-2 of the first 17 digits of each row of ASCII, u8[n]."""
    found: npt.NDArray[np.uint8] = _CHECK[((block[:, :17].astype(np.int64) - 48) @ _WEIGHTS) % 11]
    return found
