"""Says which export leaked tokens come from, with a bound on how often chance alone would say so.

Rules:

1. An export is named by evidence against one hypothesis: its key had no part in these tokens. Then a text token
   verifies with probability 2^-128, and a token of a form decrypts to any value of the form alike, which is one of the
   known values (in the room, say, or in use at all) no more often than their `share` of the form.
2. `log_e` is the logarithm of an e-value: under that hypothesis its mean is at most 1, whatever the tokens are. Over K
   exports none that is innocent reaches E with probability above K / E (Markov, Boole).
3. Tokens count once each; that decrypted values differ makes chance less likely still (Hoeffding 1963, section 6).
4. Rows of other exports, or of nobody, beside those of one take nothing from the bound: a mixture of rates is tried.

It tells where tokens were made, not who published them: whoever holds an export can copy from it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from strongroom.errors import UsageError
from strongroom.keymaster.exports.tokenising import ExportTokens
from strongroom.schema.normalise import normalise
from strongroom.schema.tokenform import Part, TokenField, form_of
from strongroom.schema.tokentext import read_tokens

if TYPE_CHECKING:
    import pyarrow as pa

TOKENS_MAX = 256
"""So many distinct tokens are tried; a handful is enough."""

SHARE_MAX = 0.25
"""Where more of a form's values than this are known, a handful proves nothing and none is taken."""

_RATES = (0.999, 0.9, 0.75, 0.5, 0.25, 0.1, 0.05, 0.02)
_TAG_NATS = 128 * math.log(2)


@dataclass(frozen=True)
class Origin:
    """What tokens say of one export.

    Args:
        export: Its id.
        verified: Text tokens that verified under its key.
        texts: Text tokens tried.
        known: Tokens of a form whose value is one of the known ones.
        formed: Tokens of a form tried.
        log_e: Natural logarithm of the e-value.
        chance: Bound on the probability that any of the exports reaches this without having made the tokens.
    """

    export: str
    verified: int
    texts: int
    known: int
    formed: int
    log_e: float
    chance: float


def names_export(field: TokenField, tokens: pa.Array, exports: Mapping[str, ExportTokens]) -> list[Origin]:
    """What leaked text tokens of a field say of each export, the most likely origin first.

    Args:
        field: Whose tokens they are.
        tokens: Strings; the first `TOKENS_MAX` distinct ones that are text tokens are tried, others say nothing.
        exports: All that could be accused, by id.

    Raises:
        InputError: The column is not text.
        UsageError: There are no exports.
    """
    _some(exports)
    texts = _texts(field, tokens)
    tried = len(texts[1]) - 1
    found: list[Origin] = []
    for name, export in exports.items():
        verified = int((~export.of(field).text.open(*texts)[2]).sum()) if tried else 0
        log_e = _text_nats(verified, tried)
        found.append(Origin(name, verified, tried, 0, 0, log_e, _chance(log_e, len(exports))))
    return sorted(found, key=lambda origin: -origin.log_e)


def formed_values(field: TokenField, tokens: pa.Array, exports: Mapping[str, ExportTokens]) -> pa.Array:
    """The values behind tokens of a field's form (`formed_tokens`) under the key of each export, export by export.

    Returns:
        Strings, as many of each export, normalised: what is looked for among the known ones, for `names_by_hits`.
    """
    import pyarrow as pa

    parts, domains = _parts(field, tokens), [one.of(field) for one in exports.values()]
    values = [part.write(domain.permute(part, backwards=True)) for domain in domains for part in parts]
    return pa.concat_arrays([pa.array([], pa.string()), *values])


def names_by_hits(exports: Sequence[str], hits: npt.NDArray[np.int64], formed: int, share: float) -> list[Origin]:
    """What tokens of a form say of each export, once it is known which of `formed_values` are known.

    Args:
        exports: Ids of all that could be accused.
        hits: How many values of each are known, i64[exports]: by a rule that does not depend on any export's key.
        formed: How many values there are of each.
        share: Upper bound on which part of all values of the form is known, above 0 and below 1; for digits: of all
            digit strings of any one length.

    Returns:
        The most likely origin first.

    Raises:
        UsageError: The share is out of range, there are no exports, or hits are not of each, at most `formed`.
    """
    _some(exports)
    if not 0 < share < 1:
        raise UsageError("the share of the form's values that is known is above 0 and below 1")
    if hits.shape != (len(exports),) or ((hits < 0) | (hits > formed)).any():
        raise UsageError("hits are said of each export, of as many values as it has: i64[exports]")
    found: list[Origin] = []
    for name, hit in zip(exports, hits.tolist(), strict=True):
        log_e = _form_nats(hit, formed, share)
        found.append(Origin(name, 0, 0, hit, formed, log_e, _chance(log_e, len(exports))))
    return sorted(found, key=lambda origin: -origin.log_e)


def _some(exports: Collection[str]) -> None:
    """Refuse to say whose tokens they are where nobody's could be."""
    if not exports:
        raise UsageError("there are no exports whose tokens they could be")


def _chance(log_e: float, exports: int) -> float:
    """Bound on the probability that any of so many exports reaches an e-value."""
    return min(1.0, exports * math.exp(min(700.0, -log_e)))


def formed_tokens(field: TokenField, tokens: pa.Array, held: int, most: int = TOKENS_MAX) -> tuple[pa.Array, float]:
    """The first distinct tokens of a field's form, and an upper bound on the share of its values that is known.

    Args:
        field: Whose tokens they may be.
        tokens: Strings.
        held: How many values are known, at most.
        most: How many tokens are taken.

    Returns:
        Strings, none where the field has no form; of digits none so short that more than `SHARE_MAX` are known.
    """
    import pyarrow as pa

    given = normalise(tokens, field.steps, name=field.name).drop_null().unique()
    form, share = form_of(field.steps), 0.0
    if form is None or not len(given):
        return given.slice(0, 0), share
    kept = np.zeros(len(given), np.bool_)
    for part in form.parts(given, tokens=True):
        own = max(held, 1) / (part.size or 10 ** part.numbers.shape[-1])
        if own <= SHARE_MAX and len(part.numbers):
            kept |= part.rows
            share = max(share, own)
    return given.filter(pa.array(kept)).slice(0, most), share


def tokens_needed(share: float, exports: int, false_accusation: float = 1e-9) -> int:
    """How many tokens of a form name one of so many exports, where all of them are its own.

    Args:
        share: Which part of the form's values is known, above 0 and below 1.
        exports: How many could be accused.
        false_accusation: Bound on the probability that an innocent one is.

    Returns:
        The least number whose e-value reaches exports / false_accusation.
    """
    wanted = math.log(exports / false_accusation)
    count = 1
    while _form_nats(count, count, share) < wanted:
        count += 1
    return count


def _text_nats(verified: int, tried: int) -> float:
    """The e-value puts half on one of the text tokens verifying, half on none being the export's."""
    if not tried:
        return 0.0
    return float(np.logaddexp(_TAG_NATS - math.log(tried), 0.0) if verified else 0.0) - math.log(2)


def _form_nats(hits: int, tried: int, share: float) -> float:
    """The mixture, over rates above the share, of the likelihood of so many hits against the share's."""
    rates = [rate for rate in _RATES if rate > share]
    if not tried or not rates:
        return 0.0
    nats = [hits * math.log(rate / share) + (tried - hits) * math.log((1 - rate) / (1 - share)) for rate in rates]
    return float(np.logaddexp.reduce(nats)) - math.log(len(rates))


def _texts(field: TokenField, tokens: pa.Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The distinct text tokens, at most `TOKENS_MAX`: their blocks, and where each starts and ends."""
    given = normalise(tokens, ("trim",), name=field.name).drop_null().unique()
    _, blocks, starts = read_tokens(given)
    rows = min(len(starts) - 1, TOKENS_MAX)
    return blocks[: starts[rows]], starts[: rows + 1]


def _parts(field: TokenField, texts: pa.Array) -> Sequence[Part]:
    """The distinct tokens of the field's form, at most `TOKENS_MAX`."""
    form = form_of(field.steps)
    if form is None or not len(texts):
        return []
    distinct = normalise(texts, field.steps, name=field.name).drop_null().unique()
    found, room = [], TOKENS_MAX
    for part in form.parts(distinct, tokens=True):
        numbers = part.numbers[:room]
        room -= len(numbers)
        if len(numbers):
            found.append(Part(part.rows, part.size, numbers, part.write))
    return found
