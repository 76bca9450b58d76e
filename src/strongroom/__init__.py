"""Keeps the personal records of very many people sealed on object storage: public names, no logic.

A keymaster is opened, then a room with it, then a reading with a purpose and a reason; the README has the example.
"""

from strongroom.errors import (
    BudgetError,
    ConflictError,
    DeniedError,
    ErasedError,
    InputError,
    IntegrityError,
    KeysError,
    NotFoundError,
    PolicyError,
    SchemaError,
    StrongroomError,
    UnavailableError,
    UsageError,
)
from strongroom.keymaster.create import create_keymaster, open_keymaster
from strongroom.keymaster.keyrestore import restore_keymaster
from strongroom.keyserver.client import connect
from strongroom.replicate.home import repair_room as repair
from strongroom.replicate.home import restore_room as restore
from strongroom.room import Room
from strongroom.room import create_room as create
from strongroom.room import open_room as open  # noqa: A004  strongroom.open is the name users expect
from strongroom.server.client import connect_room
from strongroom.write.prepare import prepare

__all__ = [
    "BudgetError",
    "ConflictError",
    "DeniedError",
    "ErasedError",
    "InputError",
    "IntegrityError",
    "KeysError",
    "NotFoundError",
    "PolicyError",
    "Room",
    "SchemaError",
    "StrongroomError",
    "UnavailableError",
    "UsageError",
    "connect",
    "connect_room",
    "create",
    "create_keymaster",
    "open",
    "open_keymaster",
    "prepare",
    "repair",
    "restore",
    "restore_keymaster",
]
