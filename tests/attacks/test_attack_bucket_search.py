"""A thief has every byte of the bucket, of the keymaster's folder, of temporary files and logs, and searches them."""

import csv
import io
import logging
import tempfile

import attack_kit as kit
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_room import SmallRoom, fill, parcels, person, persons

import strongroom

PEOPLE = 300


@pytest.fixture(scope="module")
def needles():
    return kit.needles_of([person(n) for n in range(PEOPLE)] + parcels(2 * PEOPLE, PEOPLE).to_pylist())


def test_attack_the_bucket_is_searched_for_every_value(room, needles):
    """A thief of the bucket looks for every value in six encodings and finds none: cells and blocks are sealed."""
    assert kit.search(kit.folder_bytes(room.bucket), needles) == set()


def objects_bytes(room):
    """Every object of the bucket, without names and the checkpoints beside them, which are text."""
    files = sorted(p for p in room.bucket.rglob("*") if p.is_file() and "notes" not in p.parts)
    return b"".join(p.read_bytes() for p in files)


def test_attack_the_bucket_is_searched_for_short_values(room):
    """A thief counts values of two to four bytes, as a sex or a year: none is there more often than by chance."""
    records = [person(n) for n in range(PEOPLE)] + parcels(2 * PEOPLE, PEOPLE).to_pylist()
    assert kit.too_often(objects_bytes(room), records) == {}


def test_control_in_plain_records_short_values_are_told_from_chance():
    """Control: in as many plain records the same count finds the fields that are so short."""
    records = [person(n) for n in range(PEOPLE)]
    plain = "\n".join(",".join(map(str, r.values())) for r in records)
    for encoding, fields in (("utf-8", {"sex", "birth_year"}), ("gb18030", {"sex", "birth_year", "ethnicity"})):
        assert set(kit.too_often(plain.encode(encoding), records).values()) >= fields


def test_attack_bucket_and_keymaster_folder_without_the_passphrase(room, needles):
    """A thief of both folders without the passphrase finds no value: the keymaster keeps tokens and wrapped keys only."""
    with room.keymaster() as keymaster, strongroom.open(str(room.bucket), keys=keymaster, actor="ada") as r:
        with r.read(purpose="case-work", reason="case 1") as desk:
            for n in range(20):
                desk.find("persons", {"mobile": person(n)["mobile"]})
        found = kit.search(kit.folder_bytes(room.bucket, room.keys), needles)
    assert found | kit.search(kit.folder_bytes(room.bucket, room.keys), needles) == set()
    with pytest.raises(strongroom.KeysError):
        strongroom.open_keymaster(str(room.keys), passphrase="guess")


def test_attack_names_of_tables_and_fields_are_not_in_the_bucket(room):
    """A thief of the bucket looks for names of tables, fields and actors and finds none: manifests are sealed too."""
    words = {
        w.encode(): None
        for w in ("persons", "parcels", "person_id", "id_number", "ethnicity", "birth_year", "delivery")
    }
    assert kit.search(kit.folder_bytes(room.bucket), words) == set()


def test_attack_temporary_files_and_logs(tmp_path, monkeypatch, caplog, needles):
    """A thief who sees every temporary file and log line of a put that spills finds no value: spills are sealed."""
    from strongroom.catalog import spill
    from strongroom.write import outputs

    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr(tempfile, "tempdir", None)
    seen, spilled = [], []

    def kept(**_):
        spilled.append(scratch / f"spill-{len(spilled)}")
        return spilled[-1].open("w+b", buffering=0)

    # the file is unlinked as it is made: here it keeps its name, so that it can be searched
    monkeypatch.setattr(spill.tempfile, "TemporaryFile", kept)
    monkeypatch.setattr(outputs, "RECORDS_MEMORY_BYTES", 1 << 10)
    monkeypatch.setattr(outputs, "INDEX_MEMORY_BYTES", 1 << 10)
    room = SmallRoom(tmp_path / "room")
    room.create()
    with caplog.at_level(logging.DEBUG), room.keymaster() as keymaster:
        with strongroom.open(str(room.bucket), keys=keymaster, actor="kit") as r:
            r.put("persons", persons(PEOPLE), progress=lambda *_: seen.append(kit.folder_bytes(tmp_path)))
            seen.append(kit.folder_bytes(tmp_path))
    assert seen
    assert sum(p.stat().st_size for p in spilled) > 10_000
    for blob in [*seen, caplog.text.encode()]:
        assert kit.search(blob, needles) == set()


def test_control_the_same_search_finds_every_value_in_plain_files(tmp_path):
    """Control: in a plain CSV or Parquet of the same records the same search finds every value in each encoding."""
    records = [person(n) for n in range(PEOPLE)]
    needles = kit.needles_of(records)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]))
    writer.writerows(records)
    plain = text.getvalue().encode()
    for name, blob in {
        "utf-8": plain,
        "utf-16": text.getvalue().encode("utf-16-le"),
        "gb18030": text.getvalue().encode("gb18030"),
        "hex": plain.hex().encode(),
    }.items():
        found = kit.search(blob, needles)
        fields = {field for needle, (encoding, field) in needles.items() if encoding == name and needle in found}
        wanted = {field for encoding, field in needles.values() if encoding == name}
        assert fields == wanted
        if name in {"utf-8", "gb18030"}:
            missing = [n for n, (encoding, _) in needles.items() if encoding == name and n not in found]
            assert missing == []
    import base64

    found = kit.search(base64.b64encode(plain), needles)
    assert {needles[n][1] for n in found if needles[n][0] == "base64"} >= {
        "person_id",
        "id_number",
        "mobile",
        "address",
    }
    strings = pa.Table.from_pylist([{k: v for k, v in r.items() if isinstance(v, str)} for r in records])
    pq.write_table(strings, tmp_path / "p.parquet", compression="none", use_dictionary=False)
    found = kit.search((tmp_path / "p.parquet").read_bytes(), needles)
    assert {needles[n][1] for n in found} >= {"person_id", "name", "id_number", "mobile", "address", "ethnicity"}


def test_control_a_room_with_its_ciphers_off_gives_its_values_away(tmp_path, monkeypatch):
    """Control: with both ciphers replaced by nothing, the same search of the same bucket finds the values."""
    from strongroom.seal import _hazmat

    for name in ("chacha20_poly1305", "aes_gcm"):
        monkeypatch.setattr(_hazmat, f"{name}_seal", lambda key, nonce, plain, ad: bytes(plain) + bytes(16))
        monkeypatch.setattr(_hazmat, f"{name}_open", lambda key, nonce, sealed, ad: bytes(sealed[:-16]))
    monkeypatch.setattr(_hazmat.AesGcm, "seal", lambda _self, nonce, plain, ad: bytes(plain) + bytes(16))
    monkeypatch.setattr(_hazmat.AesGcm, "open", lambda _self, nonce, sealed, ad: bytes(sealed[:-16]))
    room = SmallRoom(tmp_path)
    room.create()
    fill(room, 40)
    needles = kit.needles_of([person(n) for n in range(40)])
    found = kit.search(kit.folder_bytes(room.bucket), needles)
    assert {needles[n][1] for n in found} >= {"name", "mobile", "address"}
