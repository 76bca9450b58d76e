"""Block keys of stored objects for the holder of a lease: puts that rebase, compaction and checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from strongroom.seal.blocks import keys_of_blocks

if TYPE_CHECKING:
    from strongroom.catalog.entries import BlockKeys
    from strongroom.keymaster.api import Keymaster, Lease


def lease_block_keys(keymaster: Keymaster, lease: Lease) -> BlockKeys:
    """Block keys derived from file keys; each file key is asked for once and lives as long as the callable."""
    known: dict[bytes, bytes] = {}

    def block_keys(key_id: bytes, kind: int, numbers: Sequence[int], table: bytes | None) -> list[bytes]:
        del table
        if key_id not in known:
            known.update(keymaster.file_keys(lease, [key_id]))
        return keys_of_blocks(known[key_id], kind, numbers)

    return block_keys
