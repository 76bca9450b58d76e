"""The room for one command that a server answers too: opened directly, or behind its server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from strongroom.cli.common import Where, open_room
from strongroom.errors import UsageError

if TYPE_CHECKING:
    from strongroom.room import Room
    from strongroom.server.client import RoomClient


@contextmanager
def reach_room(place: Where, actor: str) -> Iterator[Room | RoomClient]:
    """The room: of its bucket and keymaster, or of its server where `place` names one."""
    if not place.behind_server:
        with open_room(place, actor) as opened:
            yield opened
        return
    from strongroom.server.client import connect_room

    with connect_room(place.room, credential=place.signing(), authorities=place.authorities) as client:
        if client.actor != actor:
            raise UsageError(f"the credential is {client.actor}'s, and this is asked for {actor}")
        yield client
