"""Put records into a table: read, check, seal, sort, store, and then move the head of the room once.

Rules it keeps:

1. Order of writes: runs and open-column files, manifest, snapshot, then the head. A put cut short leaves the
   room as it was, and some objects nothing names, which `check` lists and `compact` removes.
2. Records that do not fit are counted by reason with source and row, and kept sealed; with `strict` one such
   record refuses the whole put.
3. Rows of one put are ordered: a later row of the same subject is newer.
4. Memory does not grow with the input: at most WORKERS batches are in hand, and the collectors spill, sealed.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from strongroom.catalog.collector import RunCollector
from strongroom.errors import ConflictError, InputError, StrongroomError
from strongroom.seal.entropy import random_bytes
from strongroom.write.batch import SealedBatch, seal_batch
from strongroom.write.commit import Additions, commit_additions

if TYPE_CHECKING:
    from strongroom.catalog.catalog import Catalog
    from strongroom.keymaster.api import Keymaster, Lease, Receipt
    from strongroom.schema.model import Table
    from strongroom.store.base import Store
    from strongroom.write.rejects import Rejects
    from strongroom.write.sources import SourceBatch, Sources

WORKERS = 2
LEASE_RENEW_SECONDS = 60.0
