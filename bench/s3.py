"""A room on a real S3 server on this machine (Ceph's radosgw) beside the same room in a folder.

The server shares the processors with us: what is put on S3 is work for both.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.frame import ROOT, Figures, Report, alternate, median, percentile, ratio, run, say

if TYPE_CHECKING:
    from bench.measures import Setting

COUNTED = 20
"""Finds whose object reads are counted, each in a room opened anew."""


@contextmanager
def server() -> Iterator[Any]:
    """The test server, running, with the AWS variables leading to it; None with its reason said where there is none."""
    sys.path.insert(0, str(ROOT / "tests" / "store"))
    import radosgw

    if reason := radosgw.missing():
        say(f"  left out: {reason}")
        yield None
        return
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="rgw") as folder, radosgw.Radosgw(Path(folder) / "r") as running:
        os.environ.update(running.environment())
        try:
            yield running
        finally:
            os.environ.clear()
            os.environ.update(before)


def measure_s3(setting: Setting, report: Report) -> None:
    """Put on S3 and in a folder by turns; finds by mobile on S3, and the object reads of each."""
    with server() as running:
        if running is None:
            return
        base = {"s3": str(setting.folder / "on-s3"), "folder": str(setting.folder / "in-folder")}
        buckets: list[str] = []

        def on_s3() -> Figures:
            for old in buckets:
                _empty(running, old)
            buckets[:] = [running.new_bucket()]
            return run("put", csv=str(setting.csv), base=_fresh(base["s3"]), room=f"s3://{buckets[0]}/room")

        contenders: dict[str, Callable[[], Figures]] = {
            "ours": on_s3,
            "folder": lambda: run("put", csv=str(setting.csv), base=_fresh(base["folder"])),
        }
        found = alternate(contenders, setting.rounds)
        report.rounds["s3 put"] = found
        rate, peer = (setting.rows / median(found[name], "seconds") for name in ("ours", "folder"))
        share = ratio(found["folder"], found["ours"], "seconds")
        report.add("put on S3 beside a folder", rate, peer=peer, ratio=share, target="0.8 of the folder's rate",
                   reached=share >= 0.8, unit="persons/s", note="ratio of rates: S3 to folder",
                   hindrance="the server runs on the same two processors, and takes its share of both")  # fmt: skip
        _finds(setting, report, running, base["s3"], f"s3://{buckets[0]}/room")


def _finds(setting: Setting, report: Report, running: Any, base: str, room: str) -> None:
    from bench.measures import mobiles

    wanted = mobiles(setting.csv, setting.finds)
    times = run("find", base=base, mobiles=wanted, callers=1, room=room)["ms"]
    report.rounds["s3 find"] = times
    p50 = percentile(times, 0.5)
    report.add("find on S3, p50", p50, target="15 ms", reached=p50 <= 15, unit="ms",
               note=f"p99 {percentile(times, 0.99):.1f} ms")  # fmt: skip
    one, counted = _counted(running, base, room, wanted[:COUNTED], 1)
    two, _ = _counted(running, base, room, wanted[: 2 * COUNTED], 2)
    report.rounds["s3 requests of opening a room and one find, and two finds"] = [one, two]
    # Opening reads the snapshot and the note beside it; the first find reads manifest and tails: all once for a room.
    reads = (two["Get"] - one["Get"]) / COUNTED
    report.add("find on S3, object reads", reads, unit="reads", target="at most 4", reached=reads <= 4)
    report.add("find on S3, object reads, the first with opening the room", one["Get"] / COUNTED, unit="reads",
               note="snapshot, note, manifest and tails among them")  # fmt: skip
    report.add("find on S3, the first after opening, p50", percentile(counted["ms"], 0.5), unit="ms",
               note="through a counting proxy")  # fmt: skip


def _counted(running: Any, base: str, room: str, wanted: list[str], each: int) -> tuple[Counter[str], Figures]:
    """Requests of opening the room COUNTED times with so many finds each, and the figures of it."""
    from fault_proxy import FaultProxy

    with FaultProxy(running.port) as proxy:
        os.environ["AWS_ENDPOINT_URL"] = proxy.endpoint
        try:
            figures = run("finds counted", base=base, mobiles=wanted, room=room, each=each)
        finally:
            os.environ["AWS_ENDPOINT_URL"] = running.endpoint
        return Counter(request.kind for request in proxy.requests), figures


def _fresh(base: str) -> str:
    shutil.rmtree(base, ignore_errors=True)
    Path(base).mkdir(parents=True)
    return base


def _empty(running: Any, bucket: str) -> None:
    """Remove a bucket's objects: the server keeps them in memory."""
    client = running.client()
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for item in page.get("Contents", ()):
            client.delete_object(Bucket=bucket, Key=item["Key"])
