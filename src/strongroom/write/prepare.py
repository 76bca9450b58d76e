"""What only large jobs need, loaded before they come: kernels, the tables of GBK, what Arrow imports on its own."""

from __future__ import annotations

from importlib import import_module

import numpy as np

from strongroom.seal.scatter import load_kernels
from strongroom.seal.sha import LEAF, digests

_KERNELS = (
    "strongroom.schema._packing_lanes",
    "strongroom.schema._unpacking_lanes",
    "strongroom.seal._sha_lanes",
    "strongroom.keys._bloom_lanes",
    "strongroom.index._record_lanes",
    "strongroom.write._assemble_lanes",
)
_COLUMNS = ("strongroom.schema.check", "strongroom.schema._normalise_columns", "strongroom.schema.quasi")
_OTHERS = ("pyarrow.csv", "pyarrow.parquet", "cedarpy")


def prepare() -> None:
    """Load now, about a second, what the first large put, export or many look-ups would stop for.

    For processes that live long: with the kernels there, a small look-up derives its keys in a tenth of the time.
    """
    load_kernels()
    for name in (*_KERNELS, *_COLUMNS, *_OTHERS):
        import_module(name)
    import pyarrow as pa

    from strongroom.schema._packing_columns import from_gbk, to_gbk

    to_gbk()
    from_gbk()
    digests(LEAF, np.zeros(1, np.uint8), np.arange(2), least=0)
    pa.scalar(0)  # where pandas is installed, Arrow imports it when it first meets a value of Python's
