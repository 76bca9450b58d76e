"""Values looked for where they must never be: exceptions, logs, temporary files, the keymaster's folder."""

from __future__ import annotations

import logging
import tempfile
import traceback
from pathlib import Path

import attack_kit  # noqa: F401  puts the folder of small_room on the path
import pytest

import strongroom

SECRETS = ("Zq-secret-subject-4711", "17700001234567", "Zq geheime Straße 9", "Zq-value-in-sql-0815")


def _failing(room, keymaster, folder: Path):
    """Calls that fail, each with a value in it."""
    subject, mobile, street, word = SECRETS
    bad = folder / "bad.csv"
    bad.write_text(f"person_id,name,birth_year\n,{street},1980\nP-1,{subject},{word}\n{street}\n", encoding="utf-8")
    jsonl = folder / "bad.jsonl"
    jsonl.write_text(f'{{"person_id": "{subject}", "birth_year": "{word}"}}\n{street}\n', encoding="utf-8")

    def reading(actor, purpose):
        return strongroom.open(str(room.bucket), keys=keymaster, actor=actor).read(purpose=purpose, reason="leaks")

    ada, lin = reading("ada", "case-work"), reading("lin", "statistics")
    kit = strongroom.open(str(room.bucket), keys=keymaster, actor="kit")
    return [
        lambda: ada.get("persons", subject),
        lambda: ada.records("parcels", subject),
        lambda: ada.find("persons", {"ethnicity": street}),
        lambda: ada.find("persons", {"address": street}),
        lambda: ada.find("cases", {"charge": word}),
        lambda: ada.find("persons", {"mobile": mobile}, limit=0),
        lambda: ada.find("persons", {"mobile": mobile}, fields=["no_such"]),
        lambda: ada.find("persons", {"nothing": word}),
        lambda: lin.sql(f"select count(*) from persons where name = '{word}'"),
        lambda: lin.sql(f"select '{word}' from nowhere"),
        lambda: lin.sql(f"select {word} from persons"),
        lambda: lin.sql(f"select count(*) from persons where birth_year = cast('{word}' as int) and"),
        lambda: kit.put("persons", str(bad), strict=True),
        lambda: kit.put("persons", str(jsonl), strict=True),
        lambda: kit.put("persons", [{"person_id": subject, "birth_year": word}], strict=True),
    ]


def _told(error: BaseException) -> str:
    """All an error and the errors behind it say, without the source lines that a traceback quotes."""
    parts = [str(error), repr(error), getattr(error, "hint", "") or "", getattr(error, "rule", "") or ""]
    parts += traceback.format_exception_only(error)
    for behind in (error.__cause__, error.__context__):
        if behind is not None:
            parts.append(_told(behind))
    return "\n".join(parts)


def _files(*folders: Path) -> bytes:
    return b"\0".join(path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file())


def test_attack_values_are_looked_for_after_200_failed_calls(room, tmp_path, monkeypatch, caplog, capfd):
    """200 calls fail with values in them; none is in an error, a log line, a temporary file or the keymaster's folder."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    sources = tmp_path / "sources"
    sources.mkdir()
    told: list[str] = []
    with caplog.at_level(logging.DEBUG), room.keymaster() as keymaster:
        calls = _failing(room, keymaster, sources)
        for number in range(200):
            with pytest.raises(strongroom.StrongroomError) as caught:
                calls[number % len(calls)]()
            told.append(_told(caught.value))
    out, err = capfd.readouterr()
    everything = "\n".join([*told, caplog.text, out, err])
    stored = _files(temporary, room.keys, room.bucket)
    for secret in SECRETS:
        assert secret not in everything
        assert secret.encode() not in stored


def test_control_a_value_in_an_error_is_found(tmp_path):
    """The search itself works: an error with a value in its cause, and a file with one, are found."""
    behind = KeyError(SECRETS[0])
    with pytest.raises(strongroom.UsageError) as caught:
        raise strongroom.UsageError("wrong") from behind
    assert SECRETS[0] in _told(caught.value)
    (tmp_path / "left").write_text(SECRETS[1], encoding="utf-8")
    assert SECRETS[1].encode() in _files(tmp_path)
