"""Older, shorter or other things in the place of what was written, where only what names them can tell.

The thief of the bucket has no key; the insider has every file key, so that their forgeries open, and only what the
manifest, the snapshot or the page table says of an object is against them.
"""

from dataclasses import replace

import pytest
from swap_kit import Insider, SwapRoom, alike, everywhere, record, token_of

from strongroom.catalog import manifest
from strongroom.errors import IntegrityError, NotFoundError
from strongroom.index import runreader
from strongroom.keys import pages
from strongroom.seal import blocks, cells
from strongroom.seal.blocks import block_key, open_block, seal_block
from strongroom.seal.run import Tail

RECORDS, INDEX, MANIFEST = 1, 2, 4
PEOPLE = 1500  # enough that an index run has a full block and one more


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return filled(tmp_path_factory.mktemp("replay") / "room")


@pytest.fixture
def room(template, tmp_path):
    return template.copy_to(tmp_path / "room")


def filled(folder):
    """Two editions of the same people."""
    room = SwapRoom(folder).create()
    for edition in (0, 1):
        room.put("homes", range(PEOPLE), edition)
    return room


def found_by_phone(room, number, edition=1):
    return room.find(record(number, edition)["phone"])


def by_phone_token(room, edition=1):
    """Everybody's number, ordered as their index entries are: the test may ask for the tokens."""
    with room.keymaster() as keys:
        tokens = keys._core.standing.field(keys.schema().table("homes").field("phone").id).tokens
        return sorted(range(PEOPLE), key=lambda n: tokens.one(record(n, edition)["phone"].encode()))


# -- cut ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [RECORDS, INDEX], ids=["records", "index"])
def test_attack_a_run_is_cut_at_every_border(room, kind):
    """A run ends inside its first block, at a block's end, before, in or right at its tail: the error names the run."""
    ends = [start + length for start, length in Insider(room).places(kind)]
    path = room.files(kind)[-1]
    whole = path.read_bytes()
    assert ends[-1] == len(whole)
    cuts = {0, 1, ends[0] // 2, *(end + by for end in ends for by in (-17, -1, 0, 1))}
    for cut in sorted(cut for cut in cuts if cut < len(whole)):
        path.write_bytes(whole[:cut])
        with pytest.raises(IntegrityError, match=path.name):
            found_by_phone(room, 7) if kind == INDEX else room.get(7)
    path.write_bytes(whole)
    assert room.get(7) == record(7, 1)


def cut_off_the_last_block(room):
    """The insider drops the last block of the index and seals a tail that says so, as long as the old one."""
    with Insider(room).run(INDEX) as (keys, reader, file_key, path):
        entry, kind = reader.entry, INDEX | blocks.TAIL
        key = block_key(file_key, kind, 0)
        data = path.read_bytes()
        plain = open_block(key, keys.room_id, entry.object_id, kind, 0, data[entry.tail_offset :])
        fewer = (entry.blocks - 1).to_bytes(4, "little") + plain[4 : len(plain) - 32] + bytes(32)
        path.write_bytes(
            data[: entry.tail_offset] + seal_block(key, keys.room_id, entry.object_id, kind, 0, fewer)
        )


def test_attack_an_insider_cuts_off_a_block_and_seals_the_tail_again(room):
    """The tail opens and lists one block less: the manifest says how many there are, and nobody is taken for absent."""
    cut_off_the_last_block(room)
    order = by_phone_token(room)
    for number in (order[0], order[-1]):
        with pytest.raises(IntegrityError, match=f"tail of run {room.files(INDEX)[-1].name}"):
            found_by_phone(room, number)
    assert room.get(order[-1]) == record(order[-1], 1)


def test_control_without_the_manifests_counts_the_cut_hides_a_person(room, monkeypatch):
    """Control: with a reader that believes the tail, who stood in that block is not found, and nothing says so."""
    cut_off_the_last_block(room)
    order = by_phone_token(room)
    real = runreader.parse_tail

    def believed(plain, **said):
        try:
            return real(plain, **said)
        except IntegrityError:
            return Tail(plain, int.from_bytes(plain[:4], "little"), ())

    monkeypatch.setattr(runreader, "parse_tail", believed)
    assert found_by_phone(room, order[0]) == [record(order[0], 1)]
    assert found_by_phone(room, order[-1]) == []


def test_an_insider_can_leave_a_person_out_and_check_tells(room):
    """What file keys allow, and the threat model says: a run of the same shape without one person; `check` names it."""
    victim, other = token_of(room, 7), token_of(room, 8)

    def change(entries):
        payload = dict(entries)[other]
        return sorted((other, payload) if token == victim else (token, data) for token, data in entries)

    Insider(room).rewrite(change)
    assert room.get(7) == record(7, 0)  # the older edition: the newer one is gone
    assert [fault.object[-32:] for fault in room.faults()] == [room.files(RECORDS)[-1].name]


# -- replayed -------------------------------------------------------------------------------------


def replay_the_manifest(room):
    older, newest = room.files(MANIFEST, None)
    newest.write_bytes(older.read_bytes())
    return newest


def test_attack_an_older_manifest_is_put_in_place_of_the_newest(room):
    """The manifest of the first put under the name of the second's: its hash is in the snapshot, the error names it."""
    name = replay_the_manifest(room).name
    with pytest.raises(IntegrityError, match=f"manifest {name}"):
        room.get(7)
    assert name in {fault.object[-32:] for fault in room.faults()}


@pytest.mark.parametrize("on", ["hash", "keys", "counts", None])
def test_control_without_hash_own_key_and_counts_the_older_manifest_is_used(tmp_path, monkeypatch, on):
    """Control: hash, own key and counts each suffice; with all three off the older state is served."""
    if on != "keys":
        alike(monkeypatch)
    if on != "hash":
        monkeypatch.setattr(manifest, "check_whole", lambda data, reference, what: None)
    if on != "counts":
        believe_counts(monkeypatch)
    room = SwapRoom(tmp_path / "room").create()
    room.put("homes", range(PEOPLE), 0)
    assert room.get(7) == record(7, 0)
    room.put("homes", range(PEOPLE), 1)
    replay_the_manifest(room)
    if on is None:
        assert room.get(7) == record(7, 0)
    else:
        with pytest.raises(IntegrityError):
            room.get(7)


def believe_counts(monkeypatch):
    """A manifest that was opened once opens in the place of another, however many entries that one has."""
    real, entries = manifest.open_manifest, {}

    def believing(data, reference, room, block_keys):
        reference = replace(reference, entries=entries.setdefault(data, reference.entries))
        return real(data, reference, room, block_keys)

    everywhere(monkeypatch, real, believing)


def replay_a_block(room):
    """The first block of the older index run in the place of the newer's: they are of one length."""
    older, newer = room.files(INDEX)
    (_, length), *_ = Insider(room).places(INDEX, which=0)
    assert (0, length) == Insider(room).places(INDEX)[0]
    newer.write_bytes(older.read_bytes()[:length] + newer.read_bytes()[length:])


def test_attack_a_block_is_moved_to_another_run(room):
    """A block of an older run at the same place of the newest: it opens only in its own object, the error names it."""
    replay_a_block(room)
    order = by_phone_token(room)
    with pytest.raises(IntegrityError, match=f"block 0 of run {room.files(INDEX)[-1].name}"):
        found_by_phone(room, order[0])
    assert found_by_phone(room, order[-1]) == [record(order[-1], 1)]


def test_control_with_one_key_for_all_objects_the_moved_block_hides_a_person(tmp_path, monkeypatch):
    """Control: without a key and an id of its own in each object the block opens, and the person is not found."""
    alike(monkeypatch)
    room = filled(tmp_path / "room")
    number = by_phone_token(room)[0]
    assert found_by_phone(room, number) == [record(number, 1)]
    replay_a_block(room)
    assert found_by_phone(room, number) == []


def replay_an_entry(room):
    """The insider puts a person's entry of the older run, batch and all, into the newest."""
    insider, token = Insider(room), token_of(room, 7)
    older = dict(insider.entries(which=0))[token]
    insider.rewrite(lambda entries: [(t, older if t == token else data) for t, data in entries])


def test_attack_an_insider_replays_an_entry_of_an_older_run(room):
    """An older edition of a record in the newest run: its batch is another one, so it does not open."""
    replay_an_entry(room)
    with pytest.raises(IntegrityError, match="class identity, row"):
        room.get(7)
    assert room.get(8) == record(8, 1)


def test_control_without_the_batch_in_the_key_the_older_entry_is_served(tmp_path, monkeypatch):
    """Control: when the batch is left out of the key, the older edition is read as the newest."""
    from strongroom.keymaster import releasing

    keys, release = cells.batch_keys, releasing._batch_keys
    everywhere(monkeypatch, keys, lambda secrets, compartment, _batch: keys(secrets, compartment, bytes(16)))
    everywhere(
        monkeypatch, release, lambda secrets, parts, batches: [keys(secrets, part, bytes(16)) for part in parts]
    )
    room = filled(tmp_path / "room")
    replay_an_entry(room)
    assert room.get(7) == record(7, 0)


# -- another page of the keymaster's ---------------------------------------------------------------


def two_pages(folder):
    """A room whose persons stand in two key pages of one length."""
    room = SwapRoom(folder).create()
    room.put("homes", range(200))
    room.put("homes", range(200, 400))
    return room


def swap_pages(room):
    one, two = sorted(p for p in (room.keys / "pages").rglob("*") if p.is_file() and ".tmp" not in p.parts)
    assert one.stat().st_size == two.stat().st_size
    saved = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(saved)


def test_attack_key_pages_change_places(tmp_path):
    """Two pages of the keymaster's change names: neither opens as the other, nobody is taken for erased."""
    room = two_pages(tmp_path / "room")
    swap_pages(room)
    for number in (3, 203):
        with pytest.raises(IntegrityError, match="key page [0-9a-f]{32}"):
            room.get(number)


def test_control_without_a_key_and_id_of_its_own_a_swapped_page_makes_a_person_vanish(tmp_path, monkeypatch):
    """Control: with one key and no id for every page the swap opens, and a person is taken for erased."""
    none = bytes(16)
    seal, open_, filter_ = pages.seal_page, pages.open_chunks, pages.open_filter
    everywhere(monkeypatch, seal, lambda key, room, page, *more: seal(bytes(32), room, none, *more))
    everywhere(monkeypatch, open_, lambda key, room, page, *more: open_(bytes(32), room, none, *more))
    everywhere(monkeypatch, filter_, lambda key, room, page, *more: filter_(bytes(32), room, none, *more))
    room = two_pages(tmp_path / "room")
    assert room.get(3) == record(3)
    swap_pages(room)
    gone = 0
    with room.reading() as desk:
        for number in range(400):  # most stand within the other page's range too: whoever does not is gone
            try:
                desk.get("homes", f"P-{number:05d}")
            except NotFoundError:
                gone += 1
    assert gone
