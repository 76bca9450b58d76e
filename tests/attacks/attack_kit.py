"""What the attacks share: the needles of a search, what lies where, and ciphers without their checks."""

import base64
import sqlite3
import sys
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

TESTS = Path(__file__).resolve().parent.parent
for _name in ("room", "keymaster", "format", "witness", "audit"):
    if str(TESTS / _name) not in sys.path:
        sys.path.insert(0, str(TESTS / _name))

PREFIX = 5  # shorter texts turn up in random bytes by chance


def encodings(value: str) -> dict[str, list[bytes]]:
    """The value as a thief would look for it; base64 at each of its three positions."""
    plain = value.encode()
    found = {
        "utf-8": [plain],
        "utf-16": [value.encode("utf-16-le"), value.encode("utf-16-be")],
        "gb18030": [value.encode("gb18030")],
        "hex": [plain.hex().encode(), plain.hex().upper().encode()],
        "base64": [],
    }
    for shift in range(3):
        text = base64.b64encode(bytes(shift) + plain)
        whole = (shift + len(plain)) // 3 * 4  # what follows depends on the bytes behind the value
        found["base64"].append(text[-(-shift * 8 // 6) : whole])
    if value.isdigit():
        found["packed digits"] = [bytes.fromhex(value + "F" * (len(value) % 2))]
    return {name: [n for n in needles if len(n) >= PREFIX] for name, needles in found.items()}


def needles_of(records) -> dict[bytes, tuple[str, str]]:
    """Needle -> (encoding, field) of every value of the records."""
    found = {}
    for record in records:
        for field, value in record.items():
            if value is not None:
                for name, needles in encodings(str(value)).items():
                    found.update(dict.fromkeys(needles, (name, field)))
    return found


def search(blob: bytes, needles) -> set[bytes]:
    """The needles that are in the bytes: every position is compared with every needle's beginning."""
    data = np.frombuffer(blob, np.uint8).astype(np.uint64)
    count = len(data) - PREFIX + 1
    if count < 1:
        return set()
    words = np.zeros(count, np.uint64)
    for at in range(PREFIX):
        words = words << np.uint64(8) | data[at : at + count]
    starts = {}
    for needle in needles:
        starts.setdefault(int.from_bytes(needle[:PREFIX], "big"), []).append(needle)
    places = np.flatnonzero(np.isin(words, np.array(list(starts), np.uint64)))
    return {n for at in places.tolist() for n in starts[int(words[at])] if blob.startswith(n, at)}


def too_often(blob: bytes, records) -> dict[bytes, str]:
    """Values of two to four bytes that stand in the bytes more often than in as many random ones; needle -> field.

    Such needles turn up by chance: what is looked at is how often. The bound is eight standard deviations and eight
    more, so that of a thousand needles none passes it by chance.
    """
    found = {}
    data = np.frombuffer(blob, np.uint8).astype(np.uint32)
    for size in range(2, PREFIX):
        needles = {}
        for record in records:
            for field, value in record.items():
                for encoding in ("utf-8", "gb18030", "utf-16-le", "utf-16-be"):
                    needle = b"" if value is None else str(value).encode(encoding)
                    if len(needle) == size:
                        needles[int.from_bytes(needle, "big")] = (needle, field)
        words = np.zeros(len(data) - size + 1, np.uint32)
        for at in range(size):
            words = words << np.uint32(8) | data[at : at + len(words)]
        expected = len(words) / 256**size
        hits, counts = np.unique(words[np.isin(words, np.array(list(needles), np.uint32))], return_counts=True)
        for word in hits[counts > expected + 8 * expected**0.5 + 8].tolist():
            needle, field = needles[word]
            found[needle] = field
    return found


def folder_bytes(*folders) -> bytes:
    """Every file of the folders, names too."""
    files = sorted(p for folder in folders for p in Path(folder).rglob("*") if p.is_file())
    return b"\0".join(str(p).encode() + b"\0" + p.read_bytes() for p in files)


def objects(room) -> dict[tuple[int, str | None], list[Path]]:
    """Files of the bucket by kind and table name, oldest first; the test may look into the database, a thief may not."""
    import json

    database = sqlite3.connect(room.keys / "keymaster.db")
    rows = database.execute(
        "SELECT object, kind, file_key.table_id FROM file_key JOIN lease ON lease.id = lease WHERE file_key.state = 'live' ORDER BY base"
    ).fetchall()
    stored = json.loads(
        database.execute("SELECT stored FROM schema_version ORDER BY number DESC LIMIT 1").fetchone()[0]
    )
    database.close()
    names = table_names(stored)
    found = {}
    for object_id, kind, table in rows:
        path = room.bucket / object_id.hex()[:2] / object_id.hex()
        if path.exists():
            found.setdefault((kind, names.get(table)), []).append(path)
    return found


def table_names(stored) -> dict[bytes, str]:
    tables = stored["tables"]
    rows = tables.items() if isinstance(tables, dict) else [(t["name"], t) for t in tables]
    return {bytes.fromhex(table["id"]): name for name, table in rows}


def chacha_unchecked(key, nonce, sealed, ad):
    """ChaCha20-Poly1305 without Poly1305: what a reader that skips the tag would get."""
    del ad
    stream = Cipher(algorithms.ChaCha20(key, (1).to_bytes(4, "little") + nonce), mode=None).decryptor()
    return stream.update(sealed[:-16])


def gcm_unchecked(key, nonce, sealed, ad):
    """AES-GCM without its tag."""
    del ad
    return Cipher(algorithms.AES(key), modes.CTR(nonce + (2).to_bytes(4, "big"))).decryptor().update(sealed[:-16])


def unchecked(monkeypatch):
    """Switch the tags off."""
    from strongroom.seal import _hazmat

    monkeypatch.setattr(_hazmat, "chacha20_poly1305_open", chacha_unchecked)
    monkeypatch.setattr(_hazmat, "aes_gcm_open", gcm_unchecked)

    class Unchecked(_hazmat.AesGcm):
        """The same with the key's schedule kept."""

        def __init__(self, key):
            super().__init__(key)
            self._key = key

        def open(self, nonce, sealed, ad):
            return gcm_unchecked(self._key, nonce, sealed, ad)

    monkeypatch.setattr(_hazmat, "AesGcm", Unchecked)
