"""Logs, keys and entries for the tests of the log."""

import hashlib

from strongroom.audit.log import TileLog
from strongroom.errors import UnavailableError
from strongroom.seal.sign import public_key
from strongroom.store.memory import MemoryStore

ORIGIN = "strongroom/00112233"
SEED = bytes(range(32))
PUBLIC = public_key(SEED)


def entries(count, salt=b""):
    return [hashlib.sha256(salt + str(i).encode()).digest()[: 1 + i % 32] + str(i).encode() for i in range(count)]


def reader(items):
    return lambda start, stop: items[start:stop]


def new_log(store=None, seed=SEED):
    store = MemoryStore() if store is None else store
    return store, TileLog(store, ORIGIN, seed, PUBLIC)


def published(items, *sizes):
    """A store with a log published at each of these sizes, and the last checkpoint."""
    store, log = new_log()
    text = ""
    for size in sizes or (len(items),):
        text = log.publish(reader(items), size)
    return store, log, text


def objects(store):
    return {name: store.get(name) for name, _size in store.list()}


class FailingStore:
    """A store whose call number `at` fails, before or after it took effect.

    It stands between the log and a real store, so what a failure leaves behind is real.
    """

    def __init__(self, inner, at, *, stored):
        self.inner, self.at, self.stored, self.calls = inner, at, stored, 0

    def _call(self, name, *arguments):
        self.calls += 1
        fails = self.calls == self.at
        if fails and not self.stored:
            raise UnavailableError("the store does not answer")
        result = getattr(self.inner, name)(*arguments)
        if fails:
            raise UnavailableError("the store does not answer")
        return result

    def get(self, name):
        return self._call("get", name)

    def put(self, name, data):
        return self._call("put", name, data)

    def replace(self, name, data):
        return self._call("replace", name, data)

    def delete(self, name):
        return self._call("delete", name)

    def list(self, prefix=""):
        return self._call("list", prefix)
