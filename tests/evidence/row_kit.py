"""A log in memory that committed to the code rows of some exports, and files about them for a court."""

import json

from evidence_kit import RARE, ROOM, export

from strongroom.audit.cosign import Cosigner, cosign
from strongroom.audit.entry import Entry, logged
from strongroom.audit.log import TileLog
from strongroom.audit.note import origin_of, parse_note, verifier_key
from strongroom.audit.proof import make_proof
from strongroom.evidence.coderow import Offer, commit_row, row_opening
from strongroom.evidence.rowfile import ProvedEntry, row_file
from strongroom.seal.sign import public_key
from strongroom.store.memory import MemoryStore

SEED, SALT = bytes(range(32)), b"s" * 16
START = 1_795_937_600_000


class RowLog:
    """The log of a room: entries go in, proofs come out."""

    def __init__(self, room=ROOM, seed=SEED):
        self.origin, self.public = origin_of(room), public_key(seed)
        self.key = verifier_key(self.origin, self.public)
        self.entries, self.witnesses = [], []
        self._log = TileLog(MemoryStore(), self.origin, seed, self.public)

    def note(self, act, actor="kit", **more):
        """Note an entry; its number."""
        entry = Entry(more.pop("time", START + len(self.entries)), act, actor, more.pop("decision", "allowed"), **more)
        self.entries.append(entry.to_bytes())
        return len(self.entries) - 1

    def began(self, row, **more):
        """Note that an export began, of six thousand persons."""
        extras = {"export": row.export.hex(), "commitment": commit_row(row, SALT).hex(), "tables": "persons,parcels"}
        known = {
            "actor": "sam", "purpose": "extract", "legal_basis": "research act", "recipient": "uni-north",
            "count": 6_000, "labels": bytes(32), "salt": b"e" * 16, "extras": extras,
        }  # fmt: skip
        return self.note("export", **(known | more))

    def opened(self, row, asked="kit", agreed="max"):
        """Note that two people opened its row."""
        return self.note("disclose", agreed, extras={"export": row.export.hex(), "asked": asked})

    def traced(self, finds=b"\2" * 32, **more):
        """Note the finds of a trace."""
        return self.note("trace", "ines", extras={"sample": "01" * 32, "finds": finds.hex(), "persons": 40} | more)

    def cosigned_by(self, name, seed):
        """Have a witness cosign from here on; its public side."""
        self.witnesses.append((name, seed))
        return Cosigner(name, public_key(seed))

    def proved(self, *leaves):
        """These entries, with proofs under one checkpoint over all there are."""
        size = len(self.entries)
        text = self._log.publish(lambda start, stop: [logged(one) for one in self.entries[start:stop]], size)
        text += "".join(cosign(parse_note(text).text, *witness, START // 1000).line() for witness in self.witnesses)
        read = self._log.reader()
        return [ProvedEntry(self.entries[leaf], make_proof(read, leaf, size, text)) for leaf in leaves]


def a_row(number=9, count=20_000):
    """The code row of export `number`."""
    return export(number, (Offer(0, RARE, count),))


def a_case(row=None):
    """A log in which other things happened too, and the file about one of its exports."""
    row, log = row or a_row(), RowLog()
    for _ in range(3):
        log.note("get")
    began = log.began(row)
    log.began(a_row(10))
    opened = log.opened(row)
    log.note("disclose", extras={"export": row.export.hex()})
    return log, row, file_of(log, row, began, opened)


def file_of(log, row, began, opened, *finds):
    """The file about an export, with the entry of a trace's finds where it is named."""
    return row_file(log.key, row_opening(row, SALT), *log.proved(began, opened, *finds))


def text_of(file):
    return json.dumps(file, ensure_ascii=False, indent=1)
