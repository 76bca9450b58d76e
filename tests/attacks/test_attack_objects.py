"""Whoever can write to the bucket moves, swaps, cuts, changes and replays what lies there, without any key."""


import attack_kit
import pytest
from swap_kit import Insider, SwapRoom, alike, everywhere, record

from strongroom.errors import IntegrityError, StrongroomError
from strongroom.seal import blocks

RECORDS, INDEX, OPEN, MANIFEST, SNAPSHOT = 1, 2, 3, 4, 5
PEOPLE = 200


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    room = SwapRoom(tmp_path_factory.mktemp("objects") / "room")
    room.create()
    room.put("homes")
    room.put("offices")
    room.put("homes", edition=1)
    return room


@pytest.fixture
def room(template, tmp_path):
    return template.copy_to(tmp_path / "room")


def path_of(room, kind):
    """The newest object of a kind; manifests and snapshots belong to no table."""
    if kind in (MANIFEST, SNAPSHOT):
        return room.files(kind, None)[-1]
    return room.files(kind)[-1]


def use(room, kind):
    """Read what lies in an object of a kind, and return what came out."""
    if kind == INDEX:
        return room.find("x1-00007")
    if kind == OPEN:
        return room.sql("select area, count(*) n from homes group by area")
    return room.get(7)


def whole(room):
    """Read every record through get: whatever was changed is met."""
    with room.reading() as desk:
        for number in range(0, PEOPLE, 10):
            assert dict(desk.get("homes", f"P-{number:05d}")) == record(number, 1)


KINDS = {"records": RECORDS, "index": INDEX, "open columns": OPEN, "manifest": MANIFEST, "snapshot": SNAPSHOT}


@pytest.mark.parametrize("place", [0.0, 0.3, 0.6, 0.9, 1.0])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_attack_a_byte_is_flipped(room, kind, place):
    """A bit of any part of any object is changed: `check` names the object, and no read gives anything but the truth."""
    path = path_of(room, kind)
    data = bytearray(path.read_bytes())
    data[min(int(place * len(data)), len(data) - 1)] ^= 1
    path.write_bytes(data)
    if kind == SNAPSHOT:  # without the newest snapshot the room does not open
        with pytest.raises(IntegrityError, match="snapshot"):
            room.faults()
        return
    before = {"find": record(7, 1)}
    try:
        found = use(room, kind)
    except IntegrityError:
        found = None
    if found is not None:  # the changed part was not needed for this answer, which then must be right
        right = [before["find"]] if kind == INDEX else found if kind == OPEN else before["find"]
        assert found == right
        if kind == OPEN:
            assert sorted(row["n"] for row in found) == [66, 67, 67]
    assert any(path.name in fault.object for fault in room.faults())


@pytest.mark.parametrize("cut", ["one byte", "in the tail", "in a block", "all of it"])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_attack_an_object_is_cut_short(room, kind, cut):
    """An object loses its end, at several places: reading what lies there stops, and nothing half is given."""
    path = path_of(room, kind)
    data = path.read_bytes()
    keep = {"one byte": len(data) - 1, "in the tail": len(data) - 20, "in a block": len(data) // 5, "all of it": 0}[cut]
    path.write_bytes(data[:keep])
    with pytest.raises(IntegrityError):
        use(room, kind)
        if kind == RECORDS:
            whole(room)


@pytest.mark.parametrize("kind", [RECORDS, INDEX, OPEN], ids=["records", "index", "open columns"])
@pytest.mark.parametrize("which", ["another table's", "an older snapshot's"])
def test_attack_an_object_is_put_in_place_of_another(room, kind, which):
    """An object of the same size, of another table or from an older snapshot, gets the newest one's name: it does not open."""
    victim = path_of(room, kind)
    other = room.files(kind, "offices")[-1] if which.startswith("another") else room.files(kind)[0]
    data = other.read_bytes()
    if kind != OPEN:
        assert len(data) == victim.stat().st_size, "the swap must fit, or it is found for another reason"
    victim.write_bytes(data)
    with pytest.raises(IntegrityError):
        use(room, kind)


@pytest.mark.parametrize("kind", [RECORDS, INDEX], ids=["records", "index"])
def test_control_with_one_key_for_all_objects_the_older_one_is_served(tmp_path, monkeypatch, kind):
    """Control: without a key and an id of its own in each object, the old run under the new name is read as the newest."""
    alike(monkeypatch)
    room = SwapRoom(tmp_path / "room").create()
    room.put("homes")
    room.put("homes", edition=1)
    old, new = room.files(kind)
    assert old.stat().st_size == new.stat().st_size
    assert use(room, kind) == ([record(7, 1)] if kind == INDEX else record(7, 1))
    new.write_bytes(old.read_bytes())
    if kind == RECORDS:
        assert room.get(7) == record(7, 0)
    else:
        assert room.find("x1-00007") == []  # the person is hidden, and nothing says so


def test_attack_objects_change_names(room):
    """Two objects change names, of one kind or of two: whatever reads one of them stops."""
    for first, second in ((RECORDS, INDEX), (RECORDS, MANIFEST), (INDEX, OPEN)):
        one, two = path_of(room, first), path_of(room, second)
        saved = one.read_bytes(), two.read_bytes()
        one.write_bytes(saved[1])
        two.write_bytes(saved[0])
        with pytest.raises(StrongroomError) as caught:
            use(room, first)
        assert isinstance(caught.value, IntegrityError)
        one.write_bytes(saved[0])
        two.write_bytes(saved[1])
    whole(room)


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    """A room whose index run has several blocks of one length."""
    room = SwapRoom(tmp_path_factory.mktemp("blocks") / "room")
    room.create()
    room.put("homes", range(6000))
    return room


def swap_blocks(room):
    places = Insider(room).places(INDEX)  # the tail is sealed: a thief tries lengths
    (a, size), (b, other) = places[:2]
    assert size == other
    path = room.files(INDEX)[-1]
    data = bytearray(path.read_bytes())
    data[a : a + size], data[b : b + size] = data[b : b + size], data[a : a + size]
    path.write_bytes(data)


def phones_in_first_blocks(room, wanted=3):
    """Phones whose index entries lie in the two blocks that were swapped: found by asking, as the test may."""
    with room.keymaster() as keys:
        field = keys.schema().table("homes").field("phone").id
        tokens = keys._core.standing.field(field).tokens
        smallest = sorted((tokens.one(f"x0-{n:05d}".encode()), n) for n in range(6000))
    return [n for _, n in smallest[:wanted]]


def test_attack_blocks_of_a_run_change_places(big, tmp_path):
    """Two blocks of one run change places: each opens only in its own, so a look-up there stops."""
    room = big.copy_to(tmp_path / "room")
    swap_blocks(room)
    for number in phones_in_first_blocks(room):
        with pytest.raises(IntegrityError):
            room.find(f"x0-{number:05d}")


def test_control_without_the_number_in_key_and_nonce_the_swap_hides_a_person(tmp_path, monkeypatch):
    """Control: when the block's number is in neither key nor nonce, the look-up goes astray and finds nobody."""
    real = blocks.block_key
    everywhere(monkeypatch, blocks.block_keys, lambda key, kind, first, count: [real(key, kind, 0)] * count)
    everywhere(monkeypatch, real, lambda key, kind, number: real(key, kind, 0))
    monkeypatch.setattr(blocks, "_nonce", lambda number: bytes(12))
    room = SwapRoom(tmp_path / "room").create()
    room.put("homes", range(6000))
    number = phones_in_first_blocks(room)[0]
    assert room.find(f"x0-{number:05d}") == [record(number)]
    swap_blocks(room)
    assert room.find(f"x0-{number:05d}") == []


def test_attack_an_object_of_another_room_is_put_in(room, tmp_path):
    """A run of the same shape and size from another room gets the name of one of ours: room id and key are others."""
    other = SwapRoom(tmp_path / "other").create()
    other.put("homes", edition=1)
    path_of(room, RECORDS).write_bytes(path_of(other, RECORDS).read_bytes())
    with pytest.raises(IntegrityError):
        room.get(7)


def test_attack_a_flipped_bit_is_not_given_as_a_value(room):
    """A bit in the middle of a block of records: nobody in that block is read, and nothing wrong comes out."""
    path = path_of(room, RECORDS)
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 4
    path.write_bytes(data)
    with pytest.raises(IntegrityError):
        whole(room)


def test_control_without_tags_a_flipped_bit_is_a_wrong_value(room, monkeypatch):
    """Control: with the tags of blocks and cells unchecked, the flipped bit changes what is read, and nobody notices."""
    path = path_of(room, RECORDS)
    clean = path.read_bytes()
    attack_kit.unchecked(monkeypatch)
    wrong = 0
    for place in range(200, len(clean) // 2, len(clean) // 40):
        data = bytearray(clean)
        data[place] ^= 4
        path.write_bytes(data)
        with room.reading() as desk:
            for number in range(PEOPLE):
                try:
                    wrong += dict(desk.get("homes", f"P-{number:05d}")) != record(number, 1)
                except StrongroomError:
                    continue
        if wrong:
            break
    assert wrong


def test_control_untouched_everything_is_read(room):
    """Control: the same reads on the untouched bucket give every record, and check finds nothing."""
    for kind in (RECORDS, INDEX, OPEN):
        assert use(room, kind)
    whole(room)
    assert room.faults() == []
