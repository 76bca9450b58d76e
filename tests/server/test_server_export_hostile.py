"""A server that answers an export with whatever it likes: its client raises errors of this library, and gives no file its name."""

import contextlib
import io
import itertools
import json
import socket
import threading
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import IntegrityError, StrongroomError
from strongroom.identity.credential import new_credential
from strongroom.keyserver.streamed import Streamed
from strongroom.server.client import RoomClient
from strongroom.server.unzipping import Unzipping

NAMES = ("persons.csv", "parcels.csv")
WANTED = {"recipient": "r", "purpose": "p", "reason": "r", "persons": 9, "format": "csv"}
STARTED = {"persons": 1, "snapshot": 1, "leaf": 1, "remaining": {}, "marked": False, "names_from": 0, "why_none": ""}


def zipped(parts, names=NAMES):
    """A zip as a server sends it."""

    class Sink(io.RawIOBase):
        data = b""

        def write(self, data):
            self.data += bytes(data)
            return len(data)

    sink = Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=0) as whole:
        for name, part in zip(names, parts, strict=True):
            with whole.open(name, "w", force_zip64=True) as entry:
                entry.write(part)
    return sink.data


def unzipped(data, cuts=()):
    found = {}

    def write(name, part):
        assert len(part) <= 1 << 20
        found[name] = found.get(name, b"") + part

    reader = Unzipping(NAMES, write)
    ends = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    for start, end in itertools.pairwise(ends):
        reader.feed(data[start:end])
    reader.end()
    return found


@given(st.tuples(st.binary(max_size=400), st.binary(max_size=400)), st.lists(st.integers(0, 1500), max_size=20))
def test_a_zip_is_read_in_whatever_pieces_it_comes(parts, cuts):
    """The same files, byte by byte too."""
    data = zipped(parts)
    assert unzipped(data, cuts) == dict(zip(NAMES, parts, strict=True))
    assert unzipped(data, range(len(data))) == dict(zip(NAMES, parts, strict=True))


def test_large_entries_are_unpacked_a_piece_at_a_time():
    """No more than 1 MiB at once, however much comes at once."""
    parts = [b"\0" * (5 << 20), b"x"]
    assert unzipped(zipped(parts)) == dict(zip(NAMES, parts, strict=True))


def test_what_unpacks_to_more_than_came_is_refused():
    """Before the first of it is written; and so are other methods."""
    parts = [b"\0" * (5 << 20), b"x"]
    sink = io.BytesIO()

    class NoSeek(io.RawIOBase):
        def write(self, data):
            return sink.write(data)

    with zipfile.ZipFile(NoSeek(), "w", zipfile.ZIP_DEFLATED) as whole:
        for name, part in zip(NAMES, parts, strict=True):
            with whole.open(name, "w", force_zip64=True) as entry:
                entry.write(part)
    assert len(sink.getvalue()) < 1 << 20
    written = []
    with pytest.raises(IntegrityError):
        Unzipping(NAMES, lambda _name, part: written.append(len(part))).feed(sink.getvalue())
    assert sum(written) == 0
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w", zipfile.ZIP_STORED) as whole:
        whole.writestr(NAMES[0], b"x")
    with pytest.raises(IntegrityError):
        unzipped(other.getvalue())


@pytest.mark.parametrize(
    "wrong",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[:-400],
        lambda data: b"",
        lambda data: zipped([b"1", b"2"], NAMES[::-1]),
        lambda data: zipped([b"1"], NAMES[:1]),
        lambda data: zipped([b"1", b"2", b"3"], (*NAMES, "more.csv")),
        lambda data: zipped([b"1", b"2"], (NAMES[0], "../../parcels.csv")),
    ],
)
def test_another_zip_is_refused(wrong):
    """Cut, empty, in another order, with fewer or more files, or under other names."""
    with pytest.raises(IntegrityError):
        unzipped(wrong(zipped([b"one" * 100, b"two" * 100])))


def test_a_zip_that_was_cut_anywhere_is_refused():
    """Behind its entries too, in the directory or its end; so is what stands behind the end."""
    data = zipped([b"one" * 5, b"two" * 5])
    for end in range(len(data)):
        with pytest.raises(IntegrityError):
            unzipped(data[:end])
    with pytest.raises(IntegrityError):
        unzipped(data + b"x")
    assert len(unzipped(data)) == 2  # control


@given(st.binary(max_size=300), st.integers(0, 400), st.binary(min_size=1, max_size=40))
def test_bytes_that_are_no_zip_raise_only_errors_of_this_library(data, at, other):
    """Any bytes, and a zip in which some were changed: whatever is taken for whole has the bytes of its check."""
    for given_data in (data, (good := zipped([b"one" * 20, b"two" * 20]))[:at] + other + good[at + len(other) :]):
        with contextlib.suppress(IntegrityError):
            assert unzipped(given_data) == {NAMES[0]: b"one" * 20, NAMES[1]: b"two" * 20}


# -- heads and bodies ---------------------------------------------------------------------------


def answering(answer):
    """A client whose server gives these bytes, and ends."""
    client = RoomClient("http://127.0.0.1:1", new_credential(bytes(16), "ada"), clock=lambda: 1.0, entropy=bytes)

    def stream(*_args):
        own, other = socket.socketpair()

        def send():
            with contextlib.suppress(OSError), other:
                other.sendall(answer)
                other.shutdown(socket.SHUT_WR)
                other.recv(1)

        threading.Thread(target=send, daemon=True).start()
        return Streamed(own, "server", (b"x",))

    client._wire.stream = stream
    return client


def head(started=None, ident="ab" * 16, status=200, more=""):
    said = json.dumps(STARTED if started is None else started)
    return (
        f"HTTP/1.1 {status} x\r\nstrongroom-export: {ident}\r\nstrongroom-started: {said}\r\n"
        f"{more}transfer-encoding: chunked\r\n\r\n"
    ).encode()


def refused(answer, tmp_path, tables="persons", **more):
    with pytest.raises(StrongroomError) as caught:
        answering(answer).export(tables, to=f"{tmp_path}/out/", **WANTED, **more)
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []
    return caught.value


END = b"0\r\ncontent-digest: sha-256=:%s:\r\nstrongroom-exported: %s\r\n\r\n"
DIGEST = b"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="  # of nothing
ENDED = b'{"records":{"persons":0},"root":"","absent":0}'


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 503 x\r\ncontent-length: 2\r\n\r\nno",
        b"HTTP/1.1 403 x\r\ncontent-length: 200000\r\n\r\n" + b"x" * 200_000,
        b"HTTP/1.1 200 x\r\n" + b"x: y\r\n" * 100_000,
        head(ident="xy" * 16) + END % (DIGEST, ENDED),
        head(ident="ab") + END % (DIGEST, ENDED),
        head(started=[]) + END % (DIGEST, ENDED),
        head(started={**STARTED, "persons": "many"}) + END % (DIGEST, ENDED),
        head() + b"0\r\n\r\n",
        head() + END % (b"", ENDED),
        head() + END % (b"!", ENDED),
        head() + END % (DIGEST, b"[]"),
        head() + END % (DIGEST, b"\xff"),
        head() + b"1\r\nx\r\n" + END % (DIGEST, ENDED),
        head() + b"zz\r\n",
        head() + b"0\r\n" + b"x: y\r\n" * 200_000,
        head() + b"1;" + b"x" * 2_000_000,
    ],
)
def test_answers_that_are_none_leave_no_file(tmp_path, answer):
    """No head, another status, another id, no end, an end that does not fit, trailers without end."""
    refused(answer, tmp_path)


@pytest.mark.parametrize(
    "answer",
    [
        head(started={**STARTED, "persons": 10}) + END % (DIGEST, ENDED),
        head(started={**STARTED, "persons": -1}) + END % (DIGEST, ENDED),
        head() + END % (DIGEST, b'{"records":{"parcels":0},"root":"","absent":0}'),
        head() + END % (DIGEST, b'{"records":{"persons":0,"parcels":0},"root":"","absent":0}'),
        head() + END % (DIGEST, b'{"records":{"persons":-1},"root":"","absent":0}'),
        head() + END % (DIGEST, b'{"records":{},"root":"","absent":0}'),
    ],
)
def test_an_answer_to_another_request_leaves_no_file(tmp_path, answer):
    """More persons than were signed for, or less than none; an end of other tables, of more, or of none."""
    assert isinstance(refused(answer, tmp_path), IntegrityError)


def test_an_export_that_is_taken_up_has_its_own_id(tmp_path):
    """Another id is refused; control: the same bytes where that one was asked for."""
    answer = head() + END % (DIGEST, ENDED)
    assert isinstance(refused(answer, tmp_path, resume="cd" * 16), IntegrityError)
    done = answering(answer).export("persons", to=f"{tmp_path}/out/", **WANTED, resume="ab" * 16)
    assert (done.export_id, done.persons) == ("ab" * 16, 1)


def test_control_an_answer_that_is_one_is_a_file(tmp_path):
    """The same head and end."""
    answering(head() + END % (DIGEST, ENDED)).export("persons", to=f"{tmp_path}/out/", **WANTED)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["persons.csv"]


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(lambda data: head() + data)), st.booleans())
def test_bytes_of_any_kind_raise_only_errors_of_this_library(tmp_path_factory, data, several):
    """In place of the answer, or behind its head."""
    folder = tmp_path_factory.mktemp("any")
    refused(data, folder, ["persons", "parcels"] if several else "persons")
    folder.rmdir() if not (folder / "out").exists() else None
