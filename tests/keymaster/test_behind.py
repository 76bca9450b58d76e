"""Which batches stand behind many rows, however they are mixed."""

import numpy as np
import pytest

from strongroom.keymaster.behind import STRETCHES_MAX, _distinct


@pytest.mark.parametrize("rows", [1, 100, 20 * STRETCHES_MAX])
@pytest.mark.parametrize("batches", [1, 2, 9, 3_000])
@pytest.mark.parametrize("together", [True, False])
def test_every_batch_of_some_rows_is_named_once(rows, batches, together):
    """In stretches or in any order, and where ids share their first half."""
    rng = np.random.default_rng(batches)
    ids = rng.integers(0, 256, (batches, 16), dtype=np.uint8)
    ids[1::2, :8] = ids[: len(ids[1::2]) * 2 : 2, :8]
    chosen = rng.integers(0, batches, rows)
    column = ids[np.sort(chosen) if together else chosen]
    assert _distinct(column) == {row.tobytes() for row in column}
