"""Tokens of exports on one core: the ciphers a column at a time against one call for each value, and whole columns.

Every round measures each contender once, in turn, so that what else the machine does falls on all alike; ratios are
medians of the rounds' ratios. Time is the processor time of the thread.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from bench.frame import Absent, Figures, Report, run

if TYPE_CHECKING:
    import pyarrow as pa

    from bench.measures import Setting

ROWS, CALLS, ROUNDS = 1_000_000, 10_000, 7
BATCH, STREAM = 65_536, 10_000_000
KEY, AD = bytes(range(64)), b"a column"
MIB = 1 << 20


def _seconds(work: Callable[[], object]) -> float:
    started = time.thread_time()
    work()
    return time.thread_time() - started


def _rounds(contenders: dict[str, tuple[int, Callable[[], object]]]) -> list[dict[str, float]]:
    """Seconds for one value of each contender, in each round; nobody pays for a first call."""
    for _, work in contenders.values():
        work()
    return [{name: _seconds(work) / n for name, (n, work) in contenders.items()} for _ in range(ROUNDS)]


def _rate(rounds: list[dict[str, float]], name: str) -> float:
    return 1e-6 / statistics.median(r[name] for r in rounds)


def _times(rounds: list[dict[str, float]], name: str, other: str) -> float:
    return statistics.median(r[other] / r[name] for r in rounds)


def _texts(width: int) -> pa.Array:
    """Texts of so many digits."""
    import pyarrow as pa

    data = np.random.default_rng(width).integers(48, 58, ROWS * width, dtype=np.uint8)
    offsets = np.arange(ROWS + 1, dtype=np.int32) * width
    return pa.Array.from_buffers(pa.string(), ROWS, [None, pa.py_buffer(offsets), pa.py_buffer(data)])


def ciphers() -> Figures:
    """Both ciphers over columns of a million values, and over ten thousand values one by one, without Tink."""
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

    from strongroom.seal import fpe, siv

    fpe.lanes()
    siv.lanes()
    found: Figures = {}
    for width in (11, 18):
        column, cipher, one = _texts(width), siv.TextSiv(KEY, AD), AESSIV(KEY)
        sealed = cipher.seal(column)
        values = [text.encode() for text in column[:CALLS].to_pylist()]
        tokens = [one.encrypt(value, [AD]) for value in values]
        rounds = _rounds({
            "seal": (ROWS, lambda a=column, c=cipher: c.seal(a)),
            "open": (ROWS, lambda s=sealed, c=cipher: c.open(*s)),
            "seal one": (CALLS, lambda v=values, o=one: [o.encrypt(x, [AD]) for x in v]),
            "open one": (CALLS, lambda t=tokens, o=one: [o.decrypt(x, [AD]) for x in t]),
        })  # fmt: skip
        for act in ("seal", "open"):
            found[f"AES-SIV, {width} bytes, {act}"] = _rate(rounds, act), _times(rounds, act, f"{act} one")
    rng = np.random.default_rng(2)
    for digits in (11, 16, 19):
        column = rng.integers(0, 10, (ROWS, digits), dtype=np.uint8)
        cipher = fpe.Ff1(KEY[:32], 10, digits)
        half = 10 ** (digits - digits // 2)
        pairs = [(int(a), int(b)) for a, b in rng.integers(0, half // 10, (CALLS // 4, 2))]
        rounds = _rounds({
            "encrypt": (ROWS, lambda a=column, c=cipher: c.encrypt(a)),
            "decrypt": (ROWS, lambda a=column, c=cipher: c.decrypt(a)),
            "encrypt one": (len(pairs), lambda p=pairs, c=cipher: list(c._each(p, backwards=False))),  # noqa: SLF001
            "decrypt one": (len(pairs), lambda p=pairs, c=cipher: list(c._each(p, backwards=True))),  # noqa: SLF001
        })  # fmt: skip
        for act in ("encrypt", "decrypt"):
            found[f"FF1, {digits} digits, {act}"] = _rate(rounds, act), _times(rounds, act, f"{act} one")
    return found


def tink() -> Figures:
    """AES-SIV of columns against one call of Tink for each value; Tink gives the same bytes behind its prefix."""
    try:
        import tink as library
        from tink import daead
    except ImportError:
        return {"absent": "tink is not installed"}
    from strongroom.seal import siv

    siv.lanes()
    daead.register()
    primitive = library.new_keyset_handle(daead.deterministic_aead_key_templates.AES256_SIV).primitive(
        daead.DeterministicAead
    )
    found: Figures = {}
    for width in (11, 18):
        column, cipher = _texts(width), siv.TextSiv(KEY, AD)
        sealed = cipher.seal(column)
        values = [text.encode() for text in column[:CALLS].to_pylist()]
        tokens = [primitive.encrypt_deterministically(value, AD) for value in values]
        rounds = _rounds({
            "seal": (ROWS, lambda a=column, c=cipher: c.seal(a)),
            "open": (ROWS, lambda s=sealed, c=cipher: c.open(*s)),
            "seal one": (CALLS, lambda v=values: [primitive.encrypt_deterministically(x, AD) for x in v]),
            "open one": (CALLS, lambda t=tokens: [primitive.decrypt_deterministically(x, AD) for x in t]),
        })  # fmt: skip
        for act in ("seal", "open"):
            found[f"AES-SIV, {width} bytes, {act}"] = _rate(rounds, act), _times(rounds, act, f"{act} one")
    return found


def columns() -> Figures:
    """Whole columns from Arrow to Arrow: normalised, encrypted, written as tokens; and back."""
    import pyarrow as pa

    from strongroom.demo.identity import mobile_numbers, resident_ids
    from strongroom.keymaster.exports.tokenising import ExportTokens
    from strongroom.schema.tokenform import TokenField
    from strongroom.seal import fpe, siv

    fpe.lanes()
    siv.lanes()
    rng, tokens, n = np.random.default_rng(3), ExportTokens(KEY[:32]), BATCH * 4
    ids = resident_ids(rng.integers(110_000, 160_000, n), rng.integers(0, 20_000, n), rng.integers(1, 999, n))
    found: Figures = {}
    for name, field, column in (
        ("mobiles", TokenField("mobile", "as phone:CN", ("phone:CN",)), mobile_numbers(0, n, 1)),
        ("resident ids", TokenField("resident_id", "as id", ("id",)), ids),
        ("subjects", TokenField("person_id", "subject"), pa.array([f"p-{i:08d}" for i in range(n)])),
    ):
        batches = [column.slice(a, BATCH).cast(pa.string()) for a in range(0, n, BATCH)]
        made = [tokens.tokenize(field, batch) for batch in batches]
        rounds = _rounds({
            "tokenize": (n, lambda b=batches, f=field: [tokens.tokenize(f, one) for one in b]),
            "detokenize": (n, lambda b=made, f=field: [tokens.detokenize(f, one) for one in b]),
        })  # fmt: skip
        for act in ("tokenize", "detokenize"):
            found[f"{act} {name}"] = _rate(rounds, act)
    return found


def stream(rows: int) -> Figures:
    """Mobiles by the batch, none kept: what matters is the peak of memory."""
    import pyarrow as pa

    from strongroom.demo.identity import mobile_numbers
    from strongroom.keymaster.exports.tokenising import ExportTokens
    from strongroom.schema.tokenform import TokenField

    tokens, field = ExportTokens(KEY[:32]), TokenField("mobile", "as phone:CN", ("phone:CN",))
    for start in range(0, rows, BATCH):
        tokens.tokenize(field, mobile_numbers(start, min(BATCH, rows - start), 1).cast(pa.string()))
    return {"rows": rows}


def measure_tokens(setting: Setting, report: Report) -> None:
    """The ciphers of tokens beside one call for each value, and whole columns of them."""
    found = run("token ciphers", [0])
    report.rounds["token ciphers"] = found
    for name, figures in found.items():
        if name == "rss_bytes":
            continue
        rate, times = figures
        least = 10 if name.startswith("AES-SIV") else 5
        report.add(name, rate, ratio=times, peer=rate / times, unit="M values/s", reached=rate >= least,
                   target=f"{least} million/s", note="peer: one value after the other, key prepared")  # fmt: skip
    try:
        beside = run("token tink", [0])
    except Absent as reason:
        report.add("AES-SIV beside Tink", None, note=f"left out: {reason}")
    else:
        report.rounds["token tink"] = beside
        for name, figures in beside.items():
            if name != "rss_bytes":
                report.add(f"{name}, times one Tink call", figures[0], ratio=figures[1], unit="M values/s")
    whole = run("token columns", [0])
    report.rounds["token columns"] = whole
    for name, rate in whole.items():
        if name != "rss_bytes":
            least = 10 if name == "tokenize subjects" else 5
            report.add(name, rate, unit="M values/s", target=f"{least} million/s", reached=rate >= least,
                       hindrance="the cipher takes a third; the rest is reading and writing of texts")  # fmt: skip
    rows = STREAM if setting.rows >= 1_000_000 else STREAM // 10
    peak = run("token stream", [0], rows=rows)["rss_bytes"] / MIB
    report.add(f"{rows:,} tokens by the batch, peak memory", peak, unit="MiB", target="512 MiB",
               reached=peak <= 512)  # fmt: skip
