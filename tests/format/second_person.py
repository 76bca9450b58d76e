"""A second reader of a person's log and of maps, from docs/FORMAT.md alone: standard library, and Ed25519 and CMAC."""

import base64
import hashlib
import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC

DAY = 86_400_000


def sha(data):
    return hashlib.sha256(data).digest()


def root_of(leaves):
    """RFC 6962, 2.1, as it is written there."""
    if not leaves:
        return sha(b"")
    if len(leaves) == 1:
        return sha(b"\0" + leaves[0])
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return sha(b"\1" + root_of(leaves[:half]) + root_of(leaves[half:]))


def folded(leaf, index, size, path):
    """The root that an inclusion proof leads to: RFC 9162, 2.1.3.2."""
    fn, sn, found = index, size - 1, sha(b"\0" + leaf)
    for sibling in path:
        assert sn
        if fn & 1 or fn == sn:
            found = sha(b"\1" + sibling + found)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            found = sha(b"\1" + found + sibling)
        fn, sn = fn >> 1, sn >> 1
    assert sn == 0
    return found


def digest(disclosure):
    return sha(base64.urlsafe_b64encode(disclosure).rstrip(b"=")).hex()


def both_lines(stored):
    """What an entry of two lines says in all."""
    first, second = stored.split(b"\n")
    value = json.loads(first)
    assert value.pop("kept") == digest(second)
    salt, name, more = json.loads(second)
    assert (len(base64.urlsafe_b64decode(salt + "==")), name) == (16, "kept")
    assert not value.keys() & more.keys()
    return value | more


def cmac(key, message):
    mac = CMAC(AES(key))
    mac.update(message)
    return mac.finalize()


def map_of(day_key, lists):
    """Root of a day's map from the lists of its entries, number → labels."""
    entries = {}
    for number in sorted(lists):
        for label in lists[number]:
            entries.setdefault(label, []).append(number.to_bytes(8, "big"))
    return root_of(
        [label + sha(cmac(day_key, label + b"strongroom lists") + b"".join(entries[label])) for label in sorted(entries)]
    )


def checkpoint_of(text, key_line):
    """Size and root of a signed checkpoint."""
    name, ident, key = key_line.split("+", 2)
    body, _, signatures = text.partition("\n\n")
    raw = base64.b64decode(key)
    for line in signatures.splitlines():
        mark, signer, signature = line.split(" ")
        data = base64.b64decode(signature)
        if (mark, signer, data[:4].hex()) == ("—", name, ident):
            Ed25519PublicKey.from_public_bytes(raw[1:]).verify(data[4:], body.encode() + b"\n")
            origin, size, root = body.split("\n")[:3]
            assert origin == name
            return int(size), base64.b64decode(root)
    raise AssertionError("nobody signed")


def read(text):
    """Subject, first day, day of the request, and (time, role, act, purpose) of every entry told; AssertionError if false."""
    file = json.loads(text)
    size, root = checkpoint_of(file["checkpoint"], file["key"])

    def entry(told):
        path = [base64.b64decode(one) for one in told["path"]]
        assert folded(told["entry"].encode(), told["index"], size, path) == root
        return json.loads(told["entry"])

    request = entry(file["request"])
    assert request["act"] == "log"
    assert request["shown"] == digest(file["person"].encode())
    _salt, name, person = json.loads(file["person"])
    assert name == "person"
    today, due, told = request["time"] // DAY, None, []
    for day in file["days"]:
        closing = entry(day["closing"])
        said = closing["extras"]
        assert (closing["act"], closing["actor"]) == ("day", "keymaster")
        assert closing["time"] // DAY > said["day"]
        if due is None:
            assert said["from"] <= person["first"] <= said["day"]
        else:
            assert said["from"] == due
        due = said["day"] + 1
        label = person["labels"].get(str(said["day"]))
        if label is None:
            assert (day["near"], day["entries"]) == ([], [])
            continue
        near = [(leaf["at"], base64.b64decode(leaf["data"])) for leaf in day["near"]]
        for (at, data), leaf in zip(near, day["near"], strict=True):
            path = [base64.b64decode(one) for one in leaf["path"]]
            assert folded(data, at, said["labels"], path).hex() == said["map"]
        label = bytes.fromhex(label)
        if len(near) == 1 and near[0][1][:16] == label:
            numbers = [one["index"].to_bytes(8, "big") for one in day["entries"]]
            assert near[0][1][16:] == sha(base64.b64decode(day["salt"]) + b"".join(numbers))
            for one in day["entries"]:
                value = entry(one)
                assert value.get("disclosed", value["time"] // DAY) == said["day"]
                told.append((value["time"], value["role"], value["act"], value["purpose"]))
        elif len(near) == 2:
            assert near[1][0] == near[0][0] + 1
            assert near[0][1][:16] < label < near[1][1][:16]
        else:
            ((at, data),) = near
            assert (at == 0 and label < data[:16]) or (at == said["labels"] - 1 and data[:16] < label)
    assert due is None or due == today
    return person["subject"], person["first"], today, told
