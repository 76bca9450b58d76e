"""Holds a keymaster's answer against the question: as many rows, keys and tokens as were asked for, each of its size.

The types of an answer are its call's (`calls`); what is left to check is what no type says. Whoever reads the answer
then meets no array of another length, and is asked for nothing that was not offered.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import numpy as np

from strongroom.errors import IntegrityError
from strongroom.keymaster.erasures.api import Buried
from strongroom.keymaster.log.api import TouchedPersons
from strongroom.keyserver import fitting_traces

TOKEN_BYTES = ID_BYTES = 16
KEY_BYTES = 32
INDEX_ENTRY_BYTES = 44

Args = Mapping[str, Any]


def check_fit(name: str, args: Args, answer: Any) -> None:
    """Raise IntegrityError unless the answer to a call is one to what was asked."""
    rule = _RULES.get(name)
    if rule is not None and not rule(args, answer):
        raise IntegrityError(f"the keymaster's answer to {name} does not fit what was asked")


def _rows(array: Any, count: int, width: int) -> bool:
    return bool(array.shape == (count, width))


def _sizes(values: Iterable[bytes], count: int) -> bool:
    return all(len(value) == count for value in values)


def _sealing_keys(args: Args, answer: Any) -> bool:
    count = len(args["identifiers"])
    keys = all(_rows(some, count, KEY_BYTES) for some in answer.keys.values())
    return keys and _rows(answer.tokens, count, TOKEN_BYTES)


def _index(args: Args, answer: Any) -> bool:
    tokens, entries = answer
    count = len(args["values"] if "values" in args else args["entries"])
    return _rows(tokens, count, TOKEN_BYTES) and _rows(entries, count, INDEX_ENTRY_BYTES)


def _file_keys(args: Args, answer: Any) -> bool:
    return answer.keys() == set(args["key_ids"]) and _sizes(answer.values(), KEY_BYTES)


def _block_keys(args: Args, answer: Any) -> bool:
    return len(answer) == len(args["numbers"]) and _sizes(answer, KEY_BYTES)


def _tokens_of(name: str) -> Callable[[Args, Any], bool]:
    return lambda args, answer: _rows(answer, len(args[name]), TOKEN_BYTES)


def _as_many_as(name: str) -> Callable[[Args, Any], bool]:
    return lambda args, answer: len(answer) == len(args[name])


def _among(name: str) -> Callable[[Args, Any], bool]:
    return lambda args, answer: set(answer) <= set(args[name])


def _buried(_args: Args, answer: Buried) -> bool:
    count = len(answer.tokens)
    fits = _rows(answer.tokens, count, TOKEN_BYTES) and answer.sequences.shape == (count,)
    return fits and 0 <= answer.horizon < 2**63


def _hits(args: Args, answer: Any) -> bool:
    count = len(answer.subject_tokens)
    return (
        count <= len(args["entries"])
        and _rows(answer.subject_tokens, count, TOKEN_BYTES)
        and answer.sequences.shape == answer.ordinals.shape == (count,)
        and (answer.buried is None or _buried(args, answer.buried))
    )


def _opened_hits(args: Args, answer: Any) -> bool:
    if not _hits(args, answer):
        return False
    return answer.released is None or (
        args["at_once"] is not None
        and not answer.released.missing
        and _keys_of(len(answer.subject_tokens), answer.released)
    )


def _released(args: Args, answer: Any) -> bool:
    return _keys_of(len(args["ask"].tokens), answer)


def _keys_of(count: int, answer: Any) -> bool:
    keys = all(_rows(some, count, KEY_BYTES) for some in answer.keys.values())
    return keys and all(0 <= at < count for at in answer.missing)


def _planned(args: Args, answer: Any) -> bool:
    count = len(args["identifiers"])
    return _rows(answer.tokens, count, TOKEN_BYTES) and answer.states.shape == (count,)


def _log_entries(args: Args, answer: Any) -> bool:
    leaves = [entry.get("leaf") for entry in answer]
    if not all(isinstance(leaf, int) for leaf in leaves):
        return False
    return all(one < two for one, two in zip([args["start"] - 1, *leaves], leaves, strict=False))


def _touched(_args: Args, answer: TouchedPersons) -> bool:
    count, leaves = len(answer.tokens), len(answer.leaves)
    return (
        _rows(answer.tokens, count, TOKEN_BYTES)
        and answer.erased.shape == (count,)
        and answer.starts.shape == (count + 1,)
        and answer.leaves.shape == answer.group_of.shape == (leaves,)
        and answer.entries.ndim == 1
        and int(answer.starts[0]) == 0
        and int(answer.starts[-1]) == len(answer.entries)
        and bool((np.diff(answer.starts.astype(np.int64)) >= 0).all())
        and _below(answer.entries, leaves)
        and _below(answer.group_of, len(answer.groups))
    )


def _below(numbers: Any, most: int) -> bool:
    return not len(numbers) or int(numbers.max()) < most


def _granted(_args: Args, answer: Any) -> bool:
    tokens: Collection[Mapping[str, bytes]] = answer.tokens.values()
    return all(_sizes(some.values(), TOKEN_BYTES) for some in tokens) and _sizes(answer.files.values(), KEY_BYTES)


def _started(args: Args, answer: Any) -> bool:
    return answer.export_id == args["export_id"] and len(answer.token_key) in {0, KEY_BYTES}


def _opened_code(args: Args, answer: Any) -> bool:
    return answer.export == args["export"].lower() and (answer.finds is None) == (args["traced"] is None)


_RULES: Mapping[str, Callable[[Args, Any], bool]] = {
    "mint_batch": lambda _args, answer: len(answer) == ID_BYTES,
    "mint_file_key": lambda _args, answer: len(answer.key) == KEY_BYTES,
    "seal_subjects": _sealing_keys,
    "seal_index": _index,
    "rotate_index": _index,
    "file_keys": _file_keys,
    "ended_objects": _among("object_ids"),
    "block_keys": _block_keys,
    "subject_tokens": _tokens_of("identifiers"),
    "value_tokens": _tokens_of("values"),
    "open_hits": _opened_hits,
    "release": _released,
    "stand_ins": _as_many_as("values"),
    "exports.begin": lambda _args, answer: len(answer) == ID_BYTES,
    "exports.start": _started,
    "exports.started": lambda _args, answer: 0 < answer < 2**63,
    "exports.resume": _started,
    "exports.release": lambda args, answer: _keys_of(len(args["tokens"]), answer),
    "exports.tokenize": _as_many_as("values"),
    "exports.detokenize": lambda args, answer: all(len(one) == len(args["values"]) for one in answer),
    "exports.open_code": _opened_code,
    "canaries.register": _as_many_as("pools"),
    "canaries.hidden": _buried,
    "canaries.known": _as_many_as("identifiers"),
    "canaries.is_canary": _as_many_as("identifiers"),
    "canaries.trial": lambda _args, answer: len(answer) == TOKEN_BYTES,
    "log_entries": _log_entries,
    "logs.persons": _touched,
    "erasures.plan": _planned,
    "erasures.proofs": _as_many_as("leaves"),
    "erasures.buried": _buried,
    "erasures.buried_for_reading": _buried,
    "erasures.clean_through": _as_many_as("object_ids"),
    "erasures.clean_through_for_reading": _as_many_as("object_ids"),
    "erasures.dead_entries": lambda args, answer: answer.shape == (len(args["entries"]),),
    "erasures.unclean": _among("object_ids"),
    "served.caller": lambda _args, answer: answer is None or len(answer.public_key) == KEY_BYTES,
    "served.read": _granted,
    "served.release": _released,
    "served.proofs": _as_many_as("leaves"),
    "tails.chosen": _among("pieces"),
    **fitting_traces.RULES,
}
