"""One suite for every store: what `store/base.py` promises."""

import errno
import hashlib
import os
import resource
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import obstore.store
import pytest

from strongroom.errors import ConflictError, IntegrityError, NotFoundError, UnavailableError, UsageError
from strongroom.store.folder import FolderStore
from strongroom.store.memory import MemoryStore
from strongroom.store.open import open_store
from strongroom.store.remote import RemoteStore


@pytest.fixture(params=["memory", "folder", "s3", "obstore"])
def store(request, tmp_path):
    if request.param == "s3":
        store = open_store(f"s3://{request.getfixturevalue('s3_bucket')}/some/where")
    elif request.param == "obstore":
        store = RemoteStore("memory://", obstore.store.MemoryStore(), "none")
    else:
        store = MemoryStore() if request.param == "memory" else FolderStore(tmp_path / "bucket")
    yield store
    store.close()


def test_put_reads_back(store):
    """What was put is read back whole, in ranges, by size and in lists."""
    store.put("ab/abcd", [b"one", b"two"])
    store.put("ab/abce", b"")
    assert store.get("ab/abcd") == b"onetwo"
    assert store.get_range("ab/abcd", 2, 3) == b"etw"
    assert store.size("ab/abcd") == 6
    assert store.exists("ab/abcd")
    assert dict(store.list()) == {"ab/abcd": 6, "ab/abce": 0}
    assert dict(store.list("ab/abce")) == {"ab/abce": 0}
    assert dict(store.list("b")) == {}


def test_create_only(store):
    """A taken name is refused and keeps its bytes."""
    store.put("a", b"first")
    with pytest.raises(ConflictError):
        store.put("a", b"second")
    with pytest.raises(ConflictError), store.writer("a") as out:
        out.write(b"second")
    assert store.get("a") == b"first"


def test_replace_overwrites(store):
    """Replace swaps the bytes in one step, for range readers too."""
    store.replace("checkpoint", b"one")
    assert store.get_range("checkpoint", 0, 3) == b"one"
    store.replace("checkpoint", b"another")
    assert store.get("checkpoint") == b"another"
    assert store.get_range("checkpoint", 0, 7) == b"another"


def test_absent(store):
    """An absent object is NotFoundError for readers and fine for delete."""
    for call in (store.get, store.size, lambda name: store.get_range(name, 0, 1)):
        with pytest.raises(NotFoundError):
            call("nowhere")
    store.delete("nowhere")
    store.put("a", b"x")
    store.delete("a")
    assert not store.exists("a")
    with pytest.raises(NotFoundError):
        store.get_range("a", 0, 1)


def test_short_range(store):
    """A range past the end is an IntegrityError, not fewer bytes."""
    store.put("a", b"abc")
    with pytest.raises(IntegrityError):
        store.get_range("a", 1, 3)
    with pytest.raises(UsageError):
        store.get_range("a", -1, 1)


@pytest.mark.parametrize(
    "name", ["", "..", "a/../b", "/a", "a/", ".tmp/x", "A", "a b", "a//b", "a\0", "x" * 201, "a\n"]
)
def test_names_refused(store, name):
    """A name that could leave the store or hide in it is refused by every call."""
    for call in (store.get, store.delete, store.exists, store.size):
        with pytest.raises(UsageError):
            call(name)
    with pytest.raises(UsageError):
        store.put(name, b"")


def test_writer_visible_after_close(store):
    """A streamed object is there after the block only, and hashed on the way."""
    with store.writer("a", hashed=True) as out:
        out.write(b"one")
        assert not store.exists("a")
        assert dict(store.list()) == {}
        out.write(memoryview(b"two"))
    assert (out.length, store.get("a")) == (6, b"onetwo")
    assert out.sha256().hex().startswith("25b6746d")


def test_failed_writer_leaves_nothing(store):
    """A block that raises leaves no object, and the name stays free."""
    with pytest.raises(ZeroDivisionError), store.writer("a") as out:
        out.write(b"one")
        raise ZeroDivisionError
    assert not store.exists("a")
    store.put("a", b"later")


def test_long_objects(store):
    """An object of several parts is hashed on the way, there at the end of its block, and read back whole and in ranges."""
    data = np.random.default_rng(3).bytes((20 << 20) + 17)
    with store.writer("ab/long", hashed=True) as out:
        for start in range(0, len(data), 3_000_000):
            out.write(data[start : start + 3_000_000])
            assert not store.exists("ab/long")
    assert out.length == store.size("ab/long") == len(data)
    assert out.sha256() == hashlib.sha256(data).digest()
    assert store.get("ab/long") == data
    assert store.get_range("ab/long", (16 << 20) - 5, 10) == data[(16 << 20) - 5 : (16 << 20) + 5]
    with pytest.raises(ConflictError):
        store.put("ab/long", iter([data]))
    store.put("ab/longer", data)
    assert store.size("ab/longer") == len(data)


def test_failed_long_writer_leaves_nothing(store):
    """A block that raises after several parts leaves no object, and the name stays free."""
    with pytest.raises(ZeroDivisionError), store.writer("a") as out:
        for _ in range(3):
            out.write(bytes(8 << 20))
        raise ZeroDivisionError
    assert not store.exists("a")
    assert list(store.list()) == []
    store.put("a", b"later")


def test_many_listed(store):
    """A list longer than a page has every name once, and only those under the prefix."""
    names = {f"{number % 7:02x}/n{number:05d}" for number in range(1_100 if isinstance(store, RemoteStore) else 3_000)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: store.put(name, b"x"), names))
    found = [name for name, _ in store.list()]
    assert len(found) == len(names)
    assert set(found) == names
    assert {name for name, _ in store.list("03/n00")} == {name for name in names if name.startswith("03/n00")}
    assert list(store.list("03/n")) != []


def test_names_beside_the_prefix_are_not_listed(store):
    """A name that only starts with the same letters as a folder is not taken for one inside it."""
    store.put("ab/one", b"1")
    store.put("abc/two", b"2")
    assert dict(store.list("ab/")) == {"ab/one": 1}
    assert dict(store.list("ab")) == {"ab/one": 1, "abc/two": 1}


def test_racing_creators(store):
    """Of many threads that create one name exactly one wins."""
    won = []

    def create(number):
        try:
            store.put("a", bytes([number]))
            won.append(number)
        except ConflictError:
            pass

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert store.get("a") == bytes(won)


def test_folder_sweeps_leftovers(tmp_path):
    """Temporary files of a crash are never listed and go at the next opening; those of living writers stay."""
    first = FolderStore(tmp_path / "b")
    left = first.temporary_folder / "ab_cd.1.1.0"
    left.write_bytes(b"half")
    with first.writer("ab/ef") as out:
        out.write(b"whole")
        second = FolderStore(tmp_path / "b")
        assert not left.exists()
        assert dict(second.list()) == {}
    assert second.get("ab/ef") == b"whole"
    assert list(first.temporary_folder.iterdir()) == []


def test_folder_full_disk(tmp_path):
    """A full disk is UnavailableError, and leaves neither object nor temporary file."""
    store = FolderStore(tmp_path / "b")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        with pytest.raises(UnavailableError, match="full"):
            store.put("a", bytes(1 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert dict(store.list()) == {}
    assert list(store.temporary_folder.iterdir()) == []


def test_folder_no_space_code():
    """ENOSPC of the system is our UnavailableError with a hint."""
    from strongroom.store.folder import _unavailable

    error = _unavailable(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "write of object a")
    assert isinstance(error, UnavailableError)
    assert error.hint


def test_folder_many_open_files(tmp_path):
    """Far more objects than files may be open are read in ranges."""
    store = FolderStore(tmp_path / "b")
    for number in range(300):
        store.put(f"n{number}", b"%d" % number)
    for number in range(300):
        assert store.get_range(f"n{number}", 0, 1) == str(number)[:1].encode()
    assert len(store._open) <= 256


def test_open_store(tmp_path):
    """URLs open the store they name; other kinds are refused by name."""
    open_store(str(tmp_path / "x")).put("a", b"1")
    assert open_store(f"file://{tmp_path}/x").get("a") == b"1"
    open_store("memory://same").put("a", b"2")
    assert open_store("memory://same").get("a") == b"2"
    with pytest.raises(UsageError, match="ftp"):
        open_store("ftp://bucket")
