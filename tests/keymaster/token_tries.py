"""Tries tokens of a form as the keymaster does, where the test says which values are known."""

import numpy as np

from strongroom.keymaster.exports.tokenorigin import formed_values, names_by_hits


def names_by_form(field, tokens, exports, known, share):
    """What tokens of a form say of each export; `known` says of all values behind them which are known, bool[n]."""
    values = formed_values(field, tokens, exports)
    hits = np.asarray(known(values), bool).reshape(len(exports), -1)
    return names_by_hits(list(exports), hits.sum(axis=1), hits.shape[1], share)
