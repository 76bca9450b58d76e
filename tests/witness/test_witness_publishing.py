"""A room whose policy names witnesses: what counts, what waits, what stops, and what is read meanwhile."""

import shutil
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "room"))
from small_room import PASSPHRASE, POLICY, SmallRoom, person, persons
from tls_kit import certificate
from witness_kit import Liar, Witness, section

import strongroom
from strongroom.audit.cosign import Cosigner, cosigners_of
from strongroom.errors import IntegrityError, PolicyError, UnavailableError
from strongroom.keymaster.log import witnessing
from strongroom.purpose.observers import parse_witnesses
from strongroom.purpose.toml import Node
from strongroom.seal.sign import public_key
from strongroom.webaddress import LOOPBACK

PATIENT = 20.0  # a busy machine answers late; a witness that is down refuses at once


@pytest.fixture(autouse=True)
def _all_are_waited_for(monkeypatch):
    monkeypatch.setattr(witnessing, "GRACE_SECONDS", PATIENT)


@pytest.fixture
def three(tmp_path):
    """Three witnesses that know no log yet."""
    made = [Witness(tmp_path / name, f"{name}.example/w") for name in ("north", "south", "west")]
    yield made
    for witness in made:
        witness.stop()


def begin(room, witnesses, quorum=2):
    """Let them watch the room's log, and the policy name them."""
    with room.keymaster() as keys:
        for witness in witnesses:
            witness.logs = [keys.log_key()]
            witness.start()
        keys.set_policy("kit", POLICY + section(quorum, *witnesses))


@pytest.fixture(scope="module")
def once(filled_template, tmp_path_factory):
    """A keymaster for tests that need no room of their own."""
    with filled_template.copy_to(tmp_path_factory.mktemp("once") / "room").keymaster() as keys:
        yield patient(keys)


def patient(keys, seconds=PATIENT):
    keys._publishing.witnessing.seconds = seconds
    return keys


def cosigners(text, witnesses):
    return cosigners_of(text, [w.cosigner for w in witnesses])


@pytest.mark.usefixtures("either_keymaster")
def test_a_room_with_witnesses_goes_on_as_before_and_its_checkpoints_are_cosigned(room, three):
    """Put, read, check and a new opening; snapshot, note and report carry the cosignatures."""
    begin(room, three)
    with room.keymaster() as keys, strongroom.open(str(room.bucket), keys=keys, actor="kit") as opened:
        opened.put("persons", persons(5, 400))
        assert opened.check().faults == []
        report = opened.verify_log()
        assert set(report["witnesses"]) == {w.cosigner.name for w in three}
        assert report["unpublished"] == 0
        assert len(cosigners(keys.publish(), three)) == 3
    with room.keymaster() as keys, strongroom.open(str(room.bucket), keys=keys, actor="ada") as opened:
        with opened.read(purpose="case-work", reason="case 1") as desk:
            assert desk.get("persons", "P-000400")["name"] == person(400)["name"]
    newest = max((room.bucket / "notes").rglob("*"))
    assert len(cosigners(newest.read_text(), three)) >= 2


@pytest.mark.usefixtures("either_keymaster")
def test_with_fewer_than_enough_reads_go_on_and_nothing_is_published(room, three):
    """Two of three are down: a read is answered and noted; a put fails, says who is missing, and moves nothing."""
    begin(room, three)
    with room.keymaster() as keys, strongroom.open(str(room.bucket), keys=keys, actor="kit") as opened:
        patient(keys)
        before, published = keys.head(), keys.publish()
        for witness in three[:2]:
            witness.stop()
        other = strongroom.open(str(room.bucket), keys=keys, actor="ada")
        with other, other.read(purpose="case-work", reason="c") as desk:
            assert desk.get("persons", "P-000001")["mobile"] == person(1)["mobile"]
        with pytest.raises(UnavailableError, match=r"2 of 3 witnesses must cosign .* 1 did: north\.example/w: does not"):
            opened.put("persons", persons(5, 400))
        assert keys.head() == before
        report = opened.verify_log()
        assert report["checkpoint"] == published
        assert report["unpublished"] > 0
        three[0].start()
        assert opened.put("persons", persons(5, 400)).leaf > 0
        assert opened.verify_log()["unpublished"] == 0


def test_a_log_that_waits_is_verified_while_its_witnesses_are_asked_again(room, three, monkeypatch):
    """Between an attempt that failed and what is said of it, another thread's attempt begins: the answer is the same."""
    begin(room, three)
    with room.keymaster() as keys, strongroom.open(str(room.bucket), keys=keys, actor="kit") as opened:
        patient(keys).publish()
        for witness in three:
            witness.stop()
        with pytest.raises(UnavailableError, match="must cosign"):
            opened.put("persons", persons(5, 400))
        publishing, begun, told = keys._publishing, threading.Event(), threading.Event()
        attempt, asked = publishing.publish, publishing._log.publish

        def slow(*given):
            begun.set()
            told.wait(PATIENT)
            return asked(*given)

        def again():
            with suppress(UnavailableError):
                attempt()

        def publish():
            try:
                return attempt()
            except UnavailableError:
                monkeypatch.setattr(publishing._log, "publish", slow)
                other.start()
                assert begun.wait(PATIENT)
                raise

        other = threading.Thread(target=again)
        monkeypatch.setattr(publishing, "publish", publish)
        try:
            assert opened.verify_log()["unpublished"] > 0
        finally:
            told.set()
            monkeypatch.undo()
            other.join()


def test_what_was_noted_while_witnesses_were_away_is_published_when_they_are_back(room, three, monkeypatch):
    """The keymaster was closed and opened meanwhile; without a further call the checkpoint comes by itself."""
    monkeypatch.setattr("strongroom.keymaster.log.publishing.RETRY_SECONDS", 0.2)
    begin(room, three)
    for witness in three[1:]:
        witness.stop()
    with room.keymaster() as keys:
        patient(keys)
        keys.begin_reading(actor="ada", purpose="case-work", reason="r")
        with pytest.raises(UnavailableError):
            keys.publish()
    with room.keymaster() as keys:
        patient(keys)
        keys.begin_reading(actor="ada", purpose="case-work", reason="r")
        time.sleep(0.3)
        three[1].start()
        end = time.monotonic() + 20
        while True:
            stored = keys._publishing._log.stored_checkpoint()
            if stored is not None and stored[1].size == keys.log_size:
                break
            assert time.monotonic() < end
            time.sleep(0.05)
        assert len(cosigners(stored[0], three)) == 2


def test_a_room_with_witnesses_from_the_start(tmp_path, three):
    """The policy that a room is made with names them; they learn the log's key from `log_key`, before anything is put."""
    three[0].logs = [_some_log()]
    three[0].start()
    room = SmallRoom(tmp_path / "new")
    room.folder.mkdir()
    room.create(policy=POLICY + section(1, three[0]))
    with room.keymaster() as keys, strongroom.open(str(room.bucket), keys=keys, actor="kit") as opened:
        with pytest.raises(UnavailableError, match="does not know this log"):
            opened.put("persons", persons(5))
        three[0].watch(opened.log_key())
        assert opened.put("persons", persons(5)).leaf > 0


def _some_log():
    from strongroom.audit.note import verifier_key

    return verifier_key("strongroom/none", public_key(bytes(32)))


def test_a_checkpoint_cosigned_and_lost_before_it_was_stored_is_caught_up_with(room, three):
    """The log's folder is that of before, its entries are all there: the witness names its size, and is shown the way."""
    begin(room, three)
    with room.keymaster() as keys:
        keys.publish()
    shutil.copytree(room.keys / "log", room.folder / "log before")
    with room.keymaster() as keys:
        for n in range(300):
            keys.begin_reading(actor="ada", purpose="case-work", reason=f"r{n}")
        keys.publish()
    shutil.rmtree(room.keys / "log")
    (room.folder / "log before").rename(room.keys / "log")
    with room.keymaster() as keys:
        keys.begin_reading(actor="ada", purpose="case-work", reason="another")
        assert len(cosigners(keys.publish(), three)) == 3
        assert keys.verify_log()["unpublished"] == 0


def test_a_silent_witness_delays_a_checkpoint_by_a_bounded_time_and_no_read_at_all(room, three):
    """It takes what it is sent and says nothing: publishing ends in time, once for all who wait; nobody else waits."""
    others, silent = threading.enumerate(), Liar((200, "text/plain", b""), delay=300)
    begin(room, three[:1], quorum=1)
    other = SimpleNamespace(cosigner=Cosigner("mute.example/w", public_key(bytes(32))), url=silent.url)
    failed = []

    def publish():
        try:
            keys.publish()
        except UnavailableError as error:
            failed.append(str(error))

    def all_at_once():
        waiting = [threading.Thread(target=publish) for _ in range(12)]
        for thread in waiting:
            thread.start()
        return waiting

    with room.keymaster() as keys, strongroom.open(str(room.bucket), keys=keys, actor="ada") as opened:
        patient(keys, 300)
        keys.set_policy("kit", POLICY + section(2, three[0], other))
        waiting = all_at_once()
        with opened.read(purpose="case-work", reason="c") as desk:
            desk.get("persons", "P-000001")
        assert failed == []  # the read is over, and everybody else still waits
        silent.ends.set()
        for thread in waiting:
            thread.join()
        assert len(failed) == 12

        silent.ends.clear()
        patient(keys, 1)
        started = time.monotonic()
        for thread in all_at_once():
            thread.join()
        assert len(failed) == 24
        assert "mute.example/w: " in failed[-1]
        assert time.monotonic() - started < 10  # one after the other they would wait for twelve seconds and more
        assert len([t for t in threading.enumerate() if t.name == "strongroom-witness" and t not in others]) <= 2

        keys.set_policy("kit", POLICY + section(1, three[0], other))
        assert cosigners(keys.publish(), three[:1])
        silent.ends.set()
    silent.close()


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([(200, "text/plain", b"")], "answered without|does not verify"),
        ([(200, "text/plain", b"\xff\xfe")], "does not verify"),
        ([(200, "text/plain", "— mute.example/w AAAAAAAA\n".encode())], "answered without a cosignature"),
        ([(200, "text/plain", b"x" * (1 << 17))], "answered too much"),
        ([(500, "text/plain", b"")], "answered 500"),
        ([(302, "text/plain", b"")], "answered 302"),
        ([(403, "text/plain", b"")], "does not know the key"),
        ([(409, "text/plain", b"5\n")], "409 without a size"),
        ([(409, "text/x.tlog.size", b"five")], "409 without a size"),
        ([(409, "text/x.tlog.size", b"1\n"), (409, "text/x.tlog.size", b"2\n")] * 3, "another size each time"),
    ],
)
def test_an_answer_that_is_none_counts_as_silence(once, answers, said):
    """Whatever a witness says but a cosignature, a size or a refusal: it did not cosign, and the error says why."""
    liar = Liar(*answers)
    other = SimpleNamespace(cosigner=Cosigner("mute.example/w", public_key(bytes(32))), url=liar.url)
    once.set_policy("kit", POLICY + section(1, other))
    with pytest.raises(UnavailableError, match=said):
        once.publish()
    once.set_policy("kit", POLICY)
    liar.close()


def test_a_cosignature_by_another_key_under_the_name_does_not_count(room, three, tmp_path):
    """The witness at the URL has another key than the policy names."""
    impostor = Witness(tmp_path / "impostor", "north.example/w")
    begin(room, [impostor], quorum=1)
    named = SimpleNamespace(cosigner=three[0].cosigner, url=impostor.url)
    with room.keymaster() as keys:
        patient(keys)
        keys.set_policy("kit", POLICY + section(1, named))
        with pytest.raises(UnavailableError, match="answered without a cosignature of its key"):
            keys.publish()
    impostor.stop()


def test_the_signing_key_can_be_changed_under_witnesses(room, three):
    """While both keys sign, the old one lets witnesses in; then they need to know the new one."""
    begin(room, three, quorum=3)
    with room.keymaster() as keys:
        patient(keys)
        rotated = keys.resigning.rotate("kit")
        keys.begin_reading(actor="ada", purpose="case-work", reason="r")
        with pytest.raises(UnavailableError, match="does not know the key that the log signs with"):
            keys.publish()
        for witness in three:
            witness.watch(rotated.key)
        assert len(cosigners(keys.publish(), three)) == 3


def test_a_witness_is_asked_over_tls_by_a_certificate_that_holds(room, tmp_path, monkeypatch):
    """With the authorities of the machine, to which SSL_CERT_FILE adds; without them nothing is sent."""
    tls = certificate(tmp_path)
    witness = Witness(tmp_path / "tls", "tls.example/w", tls=tls)
    begin(room, [witness], quorum=1)
    with room.keymaster() as keys:
        patient(keys)
        with pytest.raises(UnavailableError, match=r"tls\.example/w: does not answer \(SSLError\)"):
            keys.publish()
    monkeypatch.setenv("SSL_CERT_FILE", str(tls[0]))
    with room.keymaster() as keys:
        assert cosigners(keys.publish(), [witness]) == ("tls.example/w",)
    witness.stop()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[witnesses]\n", "has no quorum"),
        ("[witnesses]\nquorum = 0\n", "whole number from 1"),
        ('[witnesses]\nquorum = 2\na = { key = "k", url = "https://a.example" }\n', "is 2, and witnesses names 1"),
        ('[witnesses]\nquorum = 1\na = { key = "k" }\n', "has no url"),
        ('[witnesses]\nquorum = 1\na = { url = "https://a.example" }\n', "has no key"),
        ('[witnesses]\nquorum = 1\na = { key = "k", url = "https://a.example", more = 1 }\n', "unknown key"),
        ('[witnesses]\nquorum = 1\na = { key = "k", url = "http://a.example" }\n', "must be https"),
        ('[witnesses]\nquorum = 1\na = { key = "k", url = "ftp://a.example" }\n', "no URL of a witness"),
        ('[witnesses]\nquorum = 1\na = { key = "k", url = "https://u:p@a.example" }\n', "no URL of a witness"),
        ('[witnesses]\nquorum = 1\na = { key = "k", url = "https://a.example:x" }\n', "no URL of a witness"),
        ('[witnesses]\nquorum = 1\na = { key = "k", url = "https://[a" }\n', "no URL of a witness"),
        ('[witnesses]\nquorum = 1\na = { key = "k", url = "https://a.example" }\n', "no public key of a witness"),
    ],
)
def test_a_section_that_is_none_is_refused(once, text, problem):
    """With its place, before anything changes."""
    with pytest.raises(PolicyError, match=problem):
        once.set_policy("kit", POLICY + "\n" + text)


@given(st.text(max_size=30), st.integers(0, 40), st.integers(0, 10), st.integers(-1, 3))
def test_any_url_and_number_is_a_rule_or_refused(insert, at, gone, quorum):
    """Only this library's errors come out, and what is taken goes over TLS or stays on this machine."""
    url = "https://north.example:8447/prefix"
    for text in (insert, url[:at] + insert + url[at + gone :], "http://" + insert):
        try:
            rule = parse_witnesses(Node("witnesses", {"quorum": quorum, "a": {"key": "k", "url": text}}))
        except PolicyError:
            continue
        assert rule.quorum == 1
        assert urlsplit(rule.witnesses[0].url).scheme == "https" or urlsplit(text).hostname in LOOPBACK


def test_one_witness_twice_is_refused(once, three):
    """Two names in the policy for one key would be one voice counted twice."""
    three[0].port = 9
    with pytest.raises(PolicyError, match="two witnesses have one"):
        once.set_policy("kit", POLICY + section(2, three[0], three[0]))


def test_the_rule_survives_in_the_stored_policy(room, three):
    """As JSON and back; a policy without witnesses reads as before."""
    from strongroom.purpose.model import Policy

    begin(room, three)
    with room.keymaster() as keys:
        policy = keys.policy()
        assert policy.witnesses.quorum == 2
        assert Policy.from_json(policy.to_json()) == policy
    older = policy.to_json().replace('"witnesses":', '"w":')
    assert Policy.from_json(older).witnesses is None


# -- a keymaster that came home ------------------------------------------------------------------
def test_a_keymaster_from_a_copy_that_lost_nothing_goes_on_with_its_witnesses(room, three, tmp_path):
    """Copied, put on, lost, brought home: it catches up before a witness is asked, and they cosign what follows."""
    begin(room, three)
    with room.keymaster() as keys:
        keys.key_copies.copy("kit", str(tmp_path / "copy"))
    with room.keymaster() as keys, strongroom.open(str(room.bucket), keys=keys, actor="kit") as opened:
        opened.erase(["P-000003"], reason="asked")
    home = room.copy_to(tmp_path / "home")
    shutil.rmtree(home.keys)
    strongroom.restore_keymaster(home.keys, source=str(tmp_path / "copy"), passphrase=PASSPHRASE)
    with home.keymaster() as keys:
        assert keys._publishing._log.stored_checkpoint() is None
    with home.keymaster() as keys, strongroom.open(str(home.bucket), keys=keys, actor="kit") as opened:
        assert opened.verify_log()["unpublished"] == 0
        assert len(cosigners(keys.publish(), three)) == 3


def test_a_keymaster_that_lost_entries_for_good_needs_other_witnesses(room, three, tmp_path):
    """Witnesses saw entries that no copy has: they refuse for ever. Two people name new keys, and the log goes on."""
    begin(room, three)
    with room.keymaster() as keys:
        keys.key_copies.copy("kit", str(tmp_path / "copy"))
        for n in range(20):
            keys.begin_reading(actor="ada", purpose="case-work", reason=f"r{n}")
        keys.publish()
    home = room.copy_to(tmp_path / "home")
    shutil.rmtree(home.keys)
    strongroom.restore_keymaster(home.keys, source=str(tmp_path / "copy"), passphrase=PASSPHRASE)
    keys = home.keymaster()
    with strongroom.open(str(home.bucket), keys=keys, actor="kit") as opened:
        with pytest.raises(IntegrityError, match=r"witness \w+\.example/w refuses the log: it knows a log of"):
            keys.publish()
        fresh = [Witness(tmp_path / f"new{n}", f"new{n}.example/w", keys.log_key()).start() for n in range(2)]
        keys.set_policy("kit", POLICY + section(2, *fresh))
        assert opened.put("persons", persons(5, 400)).leaf > 0
        assert len(cosigners(keys.publish(), fresh)) == 2
    keys.close()
    for witness in fresh:
        witness.stop()
