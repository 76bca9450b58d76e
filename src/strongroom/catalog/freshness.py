"""Is the newest snapshot the one that the keymaster knows? Answered without a key, before anything is asked for."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from strongroom.errors import IntegrityError, NotFoundError
from strongroom.store.base import object_name

if TYPE_CHECKING:
    from strongroom.keymaster.api import Head
    from strongroom.store.base import Store


def verify_head(store: Store, head: Head) -> None:
    """Raise IntegrityError unless the store holds the very snapshot that the head row names."""
    if not head.number:
        return
    try:
        data = store.get(object_name(head.object_id))
    except NotFoundError:
        raise IntegrityError(
            f"snapshot {head.number} is missing from the bucket: it was removed, or this is an older copy or another room",
            hint="restore the bucket from a copy that has it",
        ) from None
    if len(data) != head.length or not hmac.compare_digest(hashlib.sha256(data).digest(), head.sha256):
        raise IntegrityError(
            f"snapshot {head.number} in the bucket is not the one that was committed",
            hint="restore the bucket from a copy that has it",
        )
