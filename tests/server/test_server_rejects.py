"""More rejected records than a server opens at once: refused before anything of them is released or noted."""

import pytest
from room_api import Api
from small_room import person

from strongroom.errors import UsageError
from strongroom.server import verbs_acts


def test_too_many_rejects_are_counted_before_they_are_released(room, monkeypatch):
    """Those of all tables together; not one of the tables is noted as read. As many as may be are opened."""
    with Api(room) as api:
        api.of("kit").put("persons", [person(700), *(person(701 + n) | {"person_id": None} for n in range(2))])
        api.of("kit").put("cases", [{"person_id": ident, "charge": "盗窃", "year": 2020} for ident in ("P-000001", None)])
        desk = api.of("ada").read(purpose="case-work", reason="r")

        def released():
            return [e for e in api.keys.log_entries("kit", of="ada") if e["act"] == "rejects"]

        monkeypatch.setattr(verbs_acts, "REJECTS_MOST", 2)
        with pytest.raises(UsageError, match="more than 2 rejected records"):
            desk.rejects()
        assert released() == []
        monkeypatch.setattr(verbs_acts, "REJECTS_MOST", 3)
        assert len(desk.rejects()) == 3  # control
        assert {e["table"] for e in released()} == {"persons", "cases"}
