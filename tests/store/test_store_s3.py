"""S3: what a real server does when something is wrong, and what becomes of it here."""

import json
import subprocess
import sys
import traceback

import pytest
from fault_proxy import ACTIONS, FaultProxy

from strongroom.errors import ConflictError, DeniedError, IntegrityError, NotFoundError, UnavailableError, UsageError
from strongroom.store.open import open_store
from strongroom.store.remote import PART_BYTES, RemoteStore
from strongroom.store.s3 import S3Store, parse_place
from strongroom.store.trouble import Patience

BRIEF = Patience(wait=lambda _seconds: None, idle_seconds=0.5, connect_seconds=1.0)
LONG = bytes(range(256)) * (((2 * PART_BYTES) >> 8) + 4)
READS = {
    "get": lambda store: store.get("ab/there"),
    "get_range": lambda store: store.get_range("ab/there", 2, 3),
    "size": lambda store: store.size("ab/there"),
    "exists": lambda store: store.exists("ab/there"),
    "list": lambda store: list(store.list()),
}


@pytest.fixture
def proxy(s3_server, s3_bucket, monkeypatch):
    """A proxy in front of the server, with one object in the bucket behind it."""
    with FaultProxy(s3_server.port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        store = S3Store(f"s3://{s3_bucket}/p", BRIEF)
        store.put("ab/there", b"abcdefgh")
        proxy.heal()
        proxy.store = store
        yield proxy
        store.close()


def uploads(server, bucket):
    """Uploads that are neither finished nor aborted."""
    return server.client().list_multipart_uploads(Bucket=bucket).get("Uploads", [])


@pytest.mark.parametrize("action", [a for a in ACTIONS if a != "full"])
@pytest.mark.parametrize("call", READS)
def test_reads_are_tried_again(proxy, call, action):
    """A read that fails once in any way that passes gives what it would have given."""
    expected = READS[call](proxy.store)
    fault = proxy.fail(action, times=1, seconds=1.0)
    assert READS[call](proxy.store) == expected
    assert fault.fired == 1


@pytest.mark.parametrize("action", ["drop", "drop after", "error", "error after", "slow down", "too many"])
def test_a_put_whose_answer_is_lost_is_stored_once(proxy, action):
    """A put that fails once, stored or not, is stored with its bytes and raises nothing."""
    proxy.fail(action, "Put")
    proxy.store.put("ab/new", b"bytes")
    assert proxy.store.get("ab/new") == b"bytes"
    with pytest.raises(ConflictError):
        proxy.store.put("ab/new", b"bytes")


def test_a_lost_answer_does_not_hide_another_object(proxy):
    """A put that fails once and then finds other bytes under its name is refused."""
    proxy.fail("error", "Put")
    with pytest.raises(ConflictError):
        proxy.store.put("ab/there", b"others")
    assert proxy.store.get("ab/there") == b"abcdefgh"


@pytest.mark.parametrize("action", ["drop", "drop after", "error", "error after", "slow down"])
@pytest.mark.parametrize("kind", ["CreateUpload", "UploadPart", "CompleteUpload"])
def test_a_long_put_survives_a_failure_of_each_request(proxy, s3_server, s3_bucket, kind, action):
    """A long object is whole after any one of its requests failed, stored or not."""
    proxy.fail(action, kind)
    proxy.store.put("ab/long", LONG)
    assert proxy.store.get("ab/long") == LONG
    left = uploads(s3_server, s3_bucket)
    assert len(left) == (1 if kind == "CreateUpload" and action in {"drop after", "error after"} else 0)


@pytest.mark.parametrize("kind", ["CreateUpload", "UploadPart", "CompleteUpload"])
def test_a_long_put_that_fails_leaves_nothing(proxy, s3_server, s3_bucket, kind):
    """A long object whose requests keep failing is neither visible nor left half, and the error says why."""
    proxy.fail("slow down", kind, times=None)
    with pytest.raises(UnavailableError, match="slow down") as caught:
        proxy.store.put("ab/long", LONG)
    assert caught.value.hint
    proxy.heal()
    assert not proxy.store.exists("ab/long")
    assert uploads(s3_server, s3_bucket) == []


def test_an_abandoned_writer_aborts_its_upload(proxy, s3_server, s3_bucket):
    """Leaving a long writer by an exception takes the parts away; the control sees them before."""
    with pytest.raises(ZeroDivisionError), proxy.store.writer("ab/long") as out:
        out.write(LONG)
        assert len(uploads(s3_server, s3_bucket)) == 1
        raise ZeroDivisionError
    assert uploads(s3_server, s3_bucket) == []


def test_the_writer_of_other_clouds_aborts_too(s3_server, s3_bucket):
    """The way long objects take to Azure and Google, tried on S3: whole at its end, nothing when left by an exception."""
    store = RemoteStore("s3://", S3Store(f"s3://{s3_bucket}").client, s3_bucket)
    store.put("whole", LONG)
    assert store.get("whole") == LONG
    with pytest.raises(ZeroDivisionError), store.writer("long") as out:
        out.write(LONG)
        raise ZeroDivisionError
    assert not store.exists("long")
    assert uploads(s3_server, s3_bucket) == []


def test_attempts_have_a_limit(proxy):
    """A store that never answers well is asked a fixed number of times, with growing waits, then it is UnavailableError."""
    waits = []
    store = S3Store(proxy.store.url, Patience(wait=waits.append))
    proxy.fail("error", times=None)
    with pytest.raises(UnavailableError, match="500"):
        store.get("ab/there")
    assert len(proxy.kinds()) == 6
    assert len(waits) == 5
    assert waits == sorted(waits)
    assert sum(waits) < 10


def test_attempts_end_in_time(proxy):
    """No attempt is begun after the time for them is over."""
    seconds = iter(range(0, 1_000, 25))
    store = S3Store(proxy.store.url, Patience(wait=lambda _: None, clock=lambda: float(next(seconds))))
    proxy.fail("drop", times=None)
    with pytest.raises(UnavailableError, match="connection"):
        store.get("ab/there")
    assert len(proxy.kinds()) == 3


def test_a_full_store_is_told_at_once(proxy):
    """507 is UnavailableError with a hint, and is not tried again."""
    proxy.fail("full", times=None)
    with pytest.raises(UnavailableError, match="full") as caught:
        proxy.store.put("ab/new", b"x")
    assert caught.value.hint
    assert proxy.kinds() == ["Put"]


def test_a_quota_is_a_full_store(s3_server, monkeypatch):
    """A server that refuses bytes beyond its quota is a full store, and leaves nothing of the object."""
    user = s3_server.new_user("small")
    for name, value in s3_server.environment(user).items():
        monkeypatch.setenv(name, value)
    client = s3_server.client(user)
    client.create_bucket(Bucket="quota-bucket")
    s3_server.admin("quota", "set", "--quota-scope=user", "--uid=small", f"--max-size={12 << 20}")
    s3_server.admin("quota", "enable", "--quota-scope=user", "--uid=small")
    store = open_store("s3://quota-bucket")
    store.put("first", bytes(5 << 20))
    s3_server.admin("user", "stats", "--uid=small", "--sync-stats")
    with pytest.raises(UnavailableError, match="full"):
        store.put("long", LONG)
    assert dict(store.list()) == {"first": 5 << 20}
    assert client.list_multipart_uploads(Bucket="quota-bucket").get("Uploads", []) == []


def test_a_slow_store_times_out(proxy):
    """A store that stays silent is UnavailableError after the time it may be silent, each time it is asked."""
    proxy.fail("hang", "Get", times=None, seconds=2.0)
    store = S3Store(proxy.store.url, Patience(attempts=2, idle_seconds=0.2, wait=lambda _: None))
    with pytest.raises(UnavailableError):
        store.get("ab/there")


def test_a_store_that_is_not_there(s3_bucket, monkeypatch):
    """A port where nothing listens is UnavailableError with a hint."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(UnavailableError, match="connection") as caught:
        S3Store(f"s3://{s3_bucket}", BRIEF).check_there()
    assert caught.value.hint


@pytest.mark.parametrize("wrong", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_credentials(s3_bucket, monkeypatch, wrong):
    """Credentials that the server refuses are DeniedError, tried once, without the key in any message."""
    monkeypatch.setenv(wrong, "wrongwrongwrong")
    with pytest.raises(DeniedError, match="credentials") as caught:
        open_store(f"s3://{s3_bucket}")
    shown = "".join(traceback.format_exception(caught.value)) + str(caught.value.hint)
    assert "wrongwrongwrong" not in shown
    assert "Signature=" not in shown


def test_no_rights(s3_server, s3_bucket, monkeypatch):
    """A user whom the bucket's policy gives nothing is denied reading, writing, listing and opening."""
    open_store(f"s3://{s3_bucket}").put("a", b"1")
    stranger = s3_server.new_user("stranger")
    for name, value in s3_server.environment(stranger).items():
        monkeypatch.setenv(name, value)
    store = S3Store(f"s3://{s3_bucket}")
    for call in (lambda: store.get("a"), lambda: store.put("b", b""), lambda: list(store.list()), store.check_there):
        with pytest.raises(DeniedError, match="denies"):
            call()
    with pytest.raises(DeniedError):
        store.put("long", LONG)


def test_a_reader_may_not_write(s3_server, s3_bucket, monkeypatch):
    """The read-only policy of the documentation lets a second user read and list, and nothing else."""
    open_store(f"s3://{s3_bucket}").put("a", b"1")
    reader = s3_server.new_user("reader")
    who = {"AWS": ["arn:aws:iam:::user/reader"]}
    where = [f"arn:aws:s3:::{s3_bucket}", f"arn:aws:s3:::{s3_bucket}/*"]
    statement = {"Effect": "Allow", "Principal": who, "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": where}
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    s3_server.client().put_bucket_policy(Bucket=s3_bucket, Policy=json.dumps(policy))
    for name, value in s3_server.environment(reader).items():
        monkeypatch.setenv(name, value)
    store = open_store(f"s3://{s3_bucket}")
    assert store.get("a") == b"1"
    assert dict(store.list()) == {"a": 1}
    with pytest.raises(NotFoundError):
        store.get("b")
    for call in (lambda: store.put("b", b""), lambda: store.replace("a", b""), lambda: store.delete("a")):
        with pytest.raises(DeniedError):
            call()


def test_absent_bucket(s3_bucket):
    """A bucket that is not there is NotFoundError by its name, when it is opened and when it goes later."""
    with pytest.raises(NotFoundError, match="no bucket absent-bucket") as caught:
        open_store("s3://absent-bucket")
    assert caught.value.hint
    with pytest.raises(NotFoundError, match="no bucket"):
        S3Store("s3://absent-bucket").put("a", b"")
    with pytest.raises(NotFoundError):
        S3Store("s3://absent-bucket").get("a")


@pytest.mark.parametrize(
    "url",
    ["s3://key:secret@bucket/p", "s3://key@bucket", "s3://bucket/p?endpoint=x", "s3://", "s3://bucket/../x", "s3://b:9/x"],
)
def test_urls_refused(url):
    """A URL with credentials, options or no bucket is UsageError, and no message repeats what it held."""
    with pytest.raises(UsageError) as caught:
        open_store(url)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_http_is_for_this_machine():
    """An http address elsewhere is refused until it is allowed."""
    away = {"AWS_ENDPOINT_URL": "http://storage.example"}
    with pytest.raises(UsageError, match="https"):
        parse_place("s3://bucket", away)
    assert parse_place("s3://bucket", away | {"AWS_ALLOW_HTTP": "true"}).allow_http
    assert not parse_place("s3://bucket", {"AWS_ENDPOINT_URL": "https://storage.example"}).allow_http


def test_no_credentials(monkeypatch, tmp_path):
    """A machine without any credentials is told how to give some, at once."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "absent"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "absent"))
    with pytest.raises(UsageError, match="no AWS credentials") as caught:
        open_store("s3://bucket")
    assert "AWS_PROFILE" in caught.value.hint
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(UsageError, match="ProfileNotFound"):
        open_store("s3://bucket")


def test_credentials_from_a_profile(s3_server, s3_bucket, monkeypatch, tmp_path):
    """A profile of the AWS settings opens the store, for short and for long objects."""
    file = tmp_path / "credentials"
    file.write_text(
        "[default]\naws_access_key_id = nobody\naws_secret_access_key = nothing\n"
        f"[ours]\naws_access_key_id = {s3_server.user.access_key}\naws_secret_access_key = {s3_server.user.secret_key}\n"
    )
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    with pytest.raises(DeniedError):
        open_store(f"s3://{s3_bucket}")
    monkeypatch.setenv("AWS_PROFILE", "ours")
    store = open_store(f"s3://{s3_bucket}")
    store.put("a", b"1")
    store.put("long", LONG)
    assert dict(store.list()) == {"a": 1, "long": len(LONG)}
    store.close()


def test_prefixes_divide_a_bucket(s3_bucket):
    """Two stores under different prefixes do not see one another, even where one prefix starts like the other."""
    one, two = open_store(f"s3://{s3_bucket}/team"), open_store(f"s3://{s3_bucket}/team2/")
    one.put("a", b"1")
    two.put("b", b"22")
    assert dict(one.list()) == {"a": 1}
    assert dict(two.list()) == {"b": 2}


def test_odd_names_in_the_bucket_are_listed(s3_server, s3_bucket):
    """Objects that somebody else put under names no store takes do not stop a list, and are in it."""
    store = open_store(f"s3://{s3_bucket}/p")
    store.put("a", b"1")
    store.put("b/one", b"1")
    store.put("x/z", b"1")
    keys = {"READ ME.txt", "b//y", "x//y", "../z", "ü", "%41", "a/", "#", "/w", "a\nb"}
    for key in keys:
        s3_server.client().put_object(Bucket=s3_bucket, Key=f"p/{key}", Body=b"ransom")
    store.check_there()
    found = [name for name, _ in store.list()]
    assert sorted(found) == sorted(keys | {"a", "b/one", "x/z"})
    assert dict(store.list("b/o")) == {"b/one": 1}
    assert store.get("x/z") == b"1"


def test_ranges_at_once(proxy):
    """Several ranges of one object come in one request when they lie close together, and a short one is an error."""
    assert proxy.store.get_ranges("ab/there", [(0, 2), (3, 0), (5, 3)]) == [b"ab", b"", b"fgh"]
    assert proxy.kinds() == ["Get"]
    with pytest.raises(IntegrityError):
        proxy.store.get_ranges("ab/there", [(0, 2), (5, 30)])
    with pytest.raises(NotFoundError):
        proxy.store.get_ranges("ab/absent", [(0, 1)])


def test_closed_stores_open_again(s3_bucket):
    """A store that was closed may be used again, for long objects too."""
    store = open_store(f"s3://{s3_bucket}")
    store.put("one", LONG)
    store.close()
    store.put("two", LONG)
    assert store.size("two") == len(LONG)
    store.close()


HALF_LOADED = """
import importlib.abc, sys, threading, time
class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "botocore.exceptions":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        real = spec.loader.exec_module
        def exec_module(module):
            started.set()
            time.sleep(0.5)
            real(module)
        spec.loader.exec_module = exec_module
        return spec
import importlib.util, botocore
started = threading.Event()
sys.meta_path.insert(0, Slow())
thread = threading.Thread(target=lambda: importlib.import_module("botocore.exceptions"))
thread.start()
started.wait()
from strongroom.store.trouble import foreign_errors
print(sorted(kind.__name__ for kind in foreign_errors()))
thread.join()
"""


def test_errors_are_known_while_another_thread_loads_the_library():
    """The first trouble of one thread meets the first import of another: it waits for it."""
    done = subprocess.run([sys.executable, "-c", HALF_LOADED], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "ClientError" in done.stdout
