"""A thief has the memory of a room's server: where no request is being answered, nothing of anybody's is in it."""

import json
import subprocess
import sys
import time

import pytest
from served_room import Served
from small_room import person

from strongroom.keymaster import releasing, sealing
from strongroom.keymaster.unlocking import Unlocking
from strongroom.server.client import RoomClient

REASON = "the matter of the seventh person"

# It searches every object that there is, what they refer to, and what threads have in their hands.
SERVER = """
import gc, json, sys, threading
import strongroom
from strongroom.listener.address import Listen
from strongroom.server.handed import HandedOn
from strongroom.server.serving import RoomServer
from strongroom.server.verbs import Verbs

wanted, kept = {}, []

def text_of(one):
    if isinstance(one, str):
        return one.encode("utf-8", "surrogatepass")
    if isinstance(one, (bytes, bytearray, memoryview)):
        return bytes(one)
    if type(one).__name__ == "ndarray" and one.dtype != object:
        return one.tobytes()
    return one.to_pybytes() if type(one).__name__ == "Buffer" else b""

def search():
    gc.collect()
    own, found, seen, left = {id(wanted), *map(id, wanted.values())}, {}, {}, gc.get_objects()
    for frame in sys._current_frames().values():
        while frame is not None:
            left += frame.f_locals.values()
            frame = frame.f_back
    while left:
        one = left.pop()
        if id(one) in seen or id(one) in own:
            continue
        seen[id(one)] = one
        data = text_of(one)
        found |= {name: True for name, needle in wanted.items() if needle in data}
        left += gc.get_referents(one)
    return sorted(found)

def keep(owner, name):
    real = getattr(owner, name)
    setattr(owner, name, lambda self, *args: (kept.append((self, args, real(self, *args))), kept[-1][2])[1])

def keep_answers(owner):
    real = owner.send

    def send(self, *args):
        status, self._parts = real(self, *args)
        return status, self._parts

    owner.send = send

keys = strongroom.connect(sys.argv[2], credential=sys.argv[3])
server = RoomServer(sys.argv[1], keys, Listen("127.0.0.1", 0), None)
threading.Thread(target=server.run, daemon=True).start()
while not server.started:
    pass
print(server.port, flush=True)
for line in sys.stdin:
    if line == "keep\\n":
        for owner, name in ((Verbs, "get"), (Verbs, "find"), (Verbs, "put"), (HandedOn, "release"), (HandedOn, "seal_subjects")):
            keep(owner, name)
    elif line == "catalogues\\n":
        strongroom.catalog.catalog.Catalog.kept = lambda self: self
    elif line == "answers\\n":
        keep_answers(strongroom.keyserver.wire._Connection)
    else:
        wanted.update({name: bytes.fromhex(text) for name, text in json.loads(line).items()})
    del line
    print(json.dumps(search()), flush=True)
"""


class Taken:
    """A room's server in a process of its own, whose memory a thief searches; and one caller's requests to it."""

    def __init__(self, room, keys, folder, monkeypatch):
        keys.credential("front", server=True).write(folder / "front.credential")
        words = [str(room.bucket), keys.url, str(folder / "front.credential")]
        self._child = subprocess.Popen(
            [sys.executable, "-c", SERVER, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        url = f"http://127.0.0.1:{int(self._child.stdout.readline())}"
        self._own = [keys.credential(actor) for actor in ("ada", "kit")]
        self._reader, self._writer = (RoomClient(url, one) for one in self._own)
        self._keys = {"cell": [], "file": [], "sealing": []}
        opened, minted, files = releasing.keys_of, sealing.batch_keys, Unlocking.signed_files
        monkeypatch.setattr(releasing, "keys_of", lambda *args: self._note("cell", opened(*args)))
        monkeypatch.setattr(sealing, "batch_keys", lambda *args: self._note("sealing", minted(*args)))
        monkeypatch.setattr(Unlocking, "signed_files", lambda *args: self._note("file", files(*args)))

    def _note(self, kind, keys):
        for one in keys.values() if isinstance(keys, dict) else [keys]:
            self._keys[kind] += [one] if isinstance(one, bytes) else [key.tobytes() for key in one]
        return keys

    def tell(self, line):
        self._child.stdin.write(f"{line}\n")
        self._child.stdin.flush()
        return json.loads(self._child.stdout.readline())

    def serve(self):
        """One caller reads and finds, another puts and holds, and both stay connected; what of it is in the server's memory then."""
        whole, put = person(7), person(9_001)
        self._writer.put("persons", [put], records=1)
        self._writer.hold(put["person_id"], reason=REASON)
        with self._reader.read(purpose="case-work", reason=REASON) as desk:
            for _ in range(2):
                assert dict(desk.get("persons", "P-000007")) == whole
                assert len(desk.find("persons", {"mobile": whole["mobile"]})) == 1
        needles = {name: whole[name].encode() for name in ("person_id", "name", "mobile", "id_number", "address")}
        needles |= {f"put {name}": put[name].encode() for name in ("person_id", "name", "mobile", "id_number", "address")}
        needles |= {"reason": REASON.encode()} | {f"credential {at}": one.seed for at, one in enumerate(self._own)}
        for kind, keys in self._keys.items():
            assert keys
            needles |= {f"{kind} key {number}": key for number, key in enumerate(set(keys))}
        return self.tell(json.dumps({name: data.hex() for name, data in needles.items()}))

    def close(self):
        self._reader.close()
        self._writer.close()
        self._child.stdin.close()
        self._child.wait(20)
        self._child.stdout.close()


@pytest.fixture
def taken(room, tmp_path, monkeypatch):
    with Served(room.keymaster()) as keys:
        made = Taken(room, keys, tmp_path, monkeypatch)
        yield made
        made.close()


def test_attack_after_the_last_answer_nothing_of_anybody_is_left(taken):
    """No value, no reason and no key, of a cell or of a file, while callers are connected and nobody asks."""
    left, end = taken.serve(), time.monotonic() + 10
    while left and time.monotonic() < end:  # threads that answered may have to let go of it still
        time.sleep(0.2)
        left = taken.tell("{}")
    assert left == []


def test_control_a_server_that_keeps_what_it_is_given_has_it_all(taken):
    """Control: with what passes kept, the same search finds values, reason and keys; the caller's own key never comes."""
    taken.tell("keep")
    found = set(taken.serve())
    assert {"person_id", "name", "mobile", "id_number", "address", "reason"} <= found
    assert any(name.startswith("cell key") for name in found)
    assert {"put name", "put mobile"} <= found
    for kind in ("cell", "file", "sealing"):
        assert any(name.startswith(f"{kind} key") for name in found)
    assert not any(name.startswith("credential") for name in found)


def test_control_a_catalogue_that_keeps_its_way_to_keys_has_a_callers_last_request(taken):
    """Control: kept with the reading that it was opened in, it leads to that request, and to keys of files."""
    taken.tell("catalogues")
    found = set(taken.serve())
    assert {"mobile", "reason"} & found
    assert any(name.startswith("file key") for name in found)


def test_control_a_connection_that_keeps_its_last_answer_has_keys_of_persons(taken):
    """Control: idle connections to the keymaster, each with what came over it last."""
    taken.tell("answers")
    assert any(name.startswith("cell key") for name in taken.serve())
