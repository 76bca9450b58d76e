"""Make the made-up city and show the product: `python -m strongroom.demo`."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import strongroom
from strongroom.demo.city import make_city
from strongroom.demo.leak import show_leak
from strongroom.demo.show import show
from strongroom.seal.entropy import random_bytes

HERE = Path(__file__).parent
MARK = "demo"  # a file in the keymaster's folder: made by the demo, for this room
TABLES = {
    "persons": "persons.csv",
    "deliveries": "deliveries.csv",
    "police_reports": "police_reports.jsonl",
    "criminal_cases": "criminal_cases.parquet",
}


def main() -> int:
    """Make ./demo-room, ./demo-keys and ./demo-room-report.html anew and show what they do."""
    parser = argparse.ArgumentParser(prog="python -m strongroom.demo", description=__doc__)
    parser.add_argument("--room", default="demo-room", help="folder of the bucket")
    parser.add_argument("--keys", default="demo-keys", help="folder of the keymaster")
    parser.add_argument("--persons", type=int, default=20_000, help="size of the made-up city")
    options = parser.parse_args()
    room, keys = Path(options.room), Path(options.keys)
    report = room.with_name(f"{room.name}-report.html")
    if not _ours(room, keys, report):
        print(f"{room}, {keys} or {report} was not made by the demo: remove it or name another", file=sys.stderr)
        return 2
    for folder in (room, keys):
        shutil.rmtree(folder, ignore_errors=True)
    report.unlink(missing_ok=True)
    passphrase = random_bytes(18).hex()
    with tempfile.TemporaryDirectory(prefix="strongroom-city-") as source:
        city = make_city(Path(source), persons=options.persons)
        keymaster = strongroom.create_keymaster(
            str(keys),
            passphrase=passphrase,
            schema=(HERE / "schema.toml").read_text(encoding="utf-8"),
            policy=(HERE / "policy.toml").read_text(encoding="utf-8"),
        )
        with keymaster:
            strongroom.create(str(room), keys=keymaster)
            (keys / MARK).write_text(str(room.resolve()), encoding="utf-8")
            (keys / "passphrase").touch(mode=0o600)
            (keys / "passphrase").write_text(passphrase + "\n", encoding="utf-8")
            show(room, keymaster, Path(source), TABLES)
            show_leak(room, keymaster, city.persons, Path(source), report)
    where = f"--room {room} --keys {keys} --passphrase-file {keys}/passphrase"
    print(f"\nLook closer:  {Path(sys.executable).parent / 'strongroom'} log --actor kit {where}")
    return 0


def _ours(room: Path, keys: Path, report: Path) -> bool:
    """Whether all may be removed: they are absent or empty, or an earlier demo made them."""
    mark = keys / MARK
    if mark.is_file() and mark.read_text(encoding="utf-8") == str(room.resolve()):
        return True
    if report.exists():
        return False
    return not any(folder.exists() and (not folder.is_dir() or any(folder.iterdir())) for folder in (room, keys))


if __name__ == "__main__":
    sys.exit(main())
