"""A second reader of a code row for a court, from docs/FORMAT.md alone: standard library, and Ed25519."""

import base64
import json

from second_person import both_lines, checkpoint_of, digest, folded


def read(text):
    """Export, recipient, persons, numbers of the three entries, who asked and agreed, key and offers; AssertionError if false."""
    file = json.loads(text)
    assert (file["kind"], file["format"]) == ("strongroom export code row", 1)
    checkpoints = set()

    def entry(item, act):
        head, _, checkpoint = item["proof"].partition("\n\n")
        version, index, *path = head.split("\n")
        assert version == "c2sp.org/tlog-proof@v1"
        word, number = index.split(" ")
        assert word == "index"
        size, root = checkpoint_of(checkpoint, file["key"])
        checkpoints.add((size, root))
        stored = item["entry"].encode()
        hashes = [base64.b64decode(one) for one in path]
        assert folded(stored.split(b"\n")[0], int(number), size, hashes) == root
        value = both_lines(stored) if b"\n" in stored else json.loads(stored)
        assert (value["act"], value["decision"], value.get("kept")) == (act, "allowed", None)
        return value, int(number)

    began, leaf = entry(file["export"], "export")
    agreed, opened = entry(file["opened"], "disclose")
    finds, traced = (None, None) if file["finds"] is None else entry(file["finds"], "trace")
    assert len(checkpoints) == 1
    assert leaf < opened
    assert finds is None or leaf < traced < opened
    said = began["extras"]
    assert digest(file["row"].encode()) == said["commitment"]
    salt, name, row = json.loads(file["row"])
    assert (len(base64.urlsafe_b64decode(salt + "==")), name, row["code"]) == (16, "code row", 1)
    assert row["export"] == said["export"] == agreed["extras"]["export"]
    assert file["log"] == file["key"].split("+")[0] == f"strongroom/{row['room']}"
    assert agreed["extras"]["asked"] != agreed["actor"]
    people = (agreed["extras"]["asked"], agreed["actor"])
    entries = (leaf, traced, opened)
    return row["export"], began["recipient"], began.get("count", 0), entries, people, row["key"], row["offers"]
