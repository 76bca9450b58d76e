"""End to end: canaries planted, exports to many recipients, samples of some published in many ways, and each traced.

Nothing is simulated but the thieves: the room, the two people who plant, the exports, their files, and the trace are
the product's. What is published is at the policy's design point: the smallest sample that its code must name, in rows.
`python -m bench.endtoend FOLDER --rows N --exports N` goes on where it was stopped; the folder is kept.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import strongroom
from bench.frame import Figures, Report, median, run, say
from bench.ours import PASSPHRASE, agreed

if TYPE_CHECKING:
    from bench.measures import Setting

MIB, GIB = 1 << 20, 1 << 30
SECONDS = 60.0
KEPT = 10
"""Files of the first so many exports stay; those of the others are deleted once they are written."""
TABLES = {"persons": "persons.csv", "deliveries": "deliveries.csv", "police_reports": "police_reports.jsonl"}
WHY = "so many canaries among the rows that were published are too few"


def design(rows: int) -> tuple[int, int]:
    """Colluders and the smallest sample, in rows, for a room of so many persons.

    The code for two colluders allows no sample below 29,100 rows, as at most one row in a hundred may be a canary's; at
    most a tenth of the room may be canaries. A room of fewer than 30,000 persons has the code for one thief.
    """
    return (2, 30_000) if rows > 30_000 else (1, rows * 85 // 100)


def exports_of(rows: int) -> int:
    """How many exports a room of so many persons is measured with: 200 of a million."""
    return max(2 * KEPT, min(200, rows // 5_000))


POLICY = """
[room]
budget = {{ day = 1_000_000_000, month = 1_000_000_000 }}
exports = {{ day = 1_000_000_000 }}
[roles.clerk]
may = ["put", "log", "check"]
put = {{ tables = ["persons", "deliveries", "police_reports"], budget = {{ day = 1_000_000_000 }} }}
[roles.sender]
[roles.inspector]
[roles.chief]
[actors]
kit = {{ roles = ["clerk"] }}
ana = {{ roles = ["sender"] }}
ines = {{ roles = ["inspector"] }}
max = {{ roles = ["chief"] }}

[purposes.planting]
legal_basis = "measuring"
roles = ["clerk"]
verbs = ["plant"]
tables.persons = {{ open = "plain", identity = "plain", contact = "plain", sensitive = "plain" }}
tables.deliveries = {{ open = "plain", identity = "plain", contact = "plain" }}
tables.police_reports = {{ open = "plain", identity = "plain", sensitive = "plain" }}
sensitive = "canaries are learnt from whole records"
budget = {{ day = 1_000_000_000 }}
lookups = {{ day = 1_000_000_000 }}
approval = {{ roles = ["chief"], always = true }}

[purposes.incident]
legal_basis = "measuring"
roles = ["inspector"]
verbs = ["trace"]
tables.persons = {{ open = "plain", identity = "plain", contact = "plain" }}
tables.deliveries = {{ open = "plain", identity = "plain", contact = "plain" }}
budget = {{ day = 1_000_000_000 }}
lookups = {{ day = 1_000_000_000 }}
approval = {{ roles = ["chief"], always = true }}
"""
SENDING = """
[purposes.{name}]
legal_basis = "measuring"
roles = ["sender"]
verbs = ["export"]
tables.persons = {{ {fields} }}
{more}
[purposes.{name}.export]
recipients = {recipients}
budget = {{ day = 1_000_000_000 }}
canaries = {{ colluders = {colluders}, sample = {sample} }}
"""
FIELDS = {
    "narrow": 'mobile = "plain", district = "plain", sex = "plain"',
    "wide": 'name = "plain", resident_id = "plain", mobile = "plain", address = "plain", district = "plain"',
    "tokens": 'person_id = "token", resident_id = "token", name = "plain", mobile = "plain"',
}
PARCELS = 'tables.deliveries = { tracking_no = "plain", recipient_mobile = "plain", courier = "plain" }'
KINDS = {2: "parcels", 3: "filtered", 4: "parcels", 5: "wide", 7: "tokens"}
"""What every tenth export is from such a number on; the others are narrow. Parcels go out with the first ten alone."""


def kind_of(number: int) -> str:
    """Which kind of export the number-th is."""
    kind = KINDS.get(number % KEPT, "narrow")
    return "narrow" if kind == "parcels" and number >= KEPT else kind


def policy(rows: int, exports: int) -> str:
    """The policy of a room of so many persons."""
    colluders, sample = design(rows)
    names = json.dumps([recipient(number) for number in range(exports)])
    more = {"colluders": colluders, "sample": sample, "recipients": names}
    own = [SENDING.format(name=name, fields=fields, more="", **more) for name, fields in FIELDS.items()]
    both = SENDING.format(name="parcels", fields=FIELDS["narrow"], more=PARCELS, **more)
    return POLICY.format() + "".join(own) + both


def recipient(number: int) -> str:
    """The name of a recipient."""
    return f"recipient-{number:03d}"


def copy_of(folder: Path, number: int, table: str = "persons") -> Path:
    """Where the file of an export is."""
    name = f"{number:03d}"
    return folder / "copies" / (f"{name}/{table}.parquet" if kind_of(number) == "parcels" else f"{name}.parquet")


# -- the room and its exports --------------------------------------------------------------------------------


def room(base: str, rows: int, exports: int) -> Figures:
    """Make the room and plant its canaries, unless it is there; seconds of each."""
    from importlib import resources

    from strongroom.demo.city import make_city
    from strongroom.demo.identity import mobile_numbers
    from strongroom.trace.canary.policy import CanaryPolicy, Source

    folder, told = Path(base), Path(base) / "made.json"
    if told.exists():
        made: Figures = json.loads(told.read_text(encoding="utf-8"))
        if (made["rows"], made["exports"]) != (rows, exports):
            raise RuntimeError(f"{base} is a room of {made['rows']:,} persons for {made['exports']:,} exports")
        return made
    strongroom.prepare()
    make_city(folder / "city", rows)
    schema = resources.files("strongroom.demo").joinpath("schema.toml").read_text("utf-8")
    for name in ("person_id", "resident_id"):
        schema = re.sub(rf'(?m)^({name} .*class = "identity")', r"\1, token = true", schema)
    keys = strongroom.create_keymaster(
        str(folder / "keys"), passphrase=PASSPHRASE, schema=schema, policy=policy(rows, exports)
    )
    with keys:
        strongroom.create(str(folder / "room"), keys=keys)
        with strongroom.open(str(folder / "room"), keys=keys, actor="kit") as opened:
            begun = time.perf_counter()
            for table, name in TABLES.items():
                opened.put(table, str(folder / "city" / name))
            put = time.perf_counter() - begun
            begun, spent = time.perf_counter(), time.process_time()
            sources = {
                "persons.mobile": Source("own", mobile_numbers(rows, rows // 5, 7)),
                "persons.resident_id": Source("complete"),
            }
            planted = opened.plant_canaries(
                CanaryPolicy(sources=sources, unit=1), purpose="planting", reason="measuring",
                approval=agreed(keys, "kit", "planting"),
            )  # fmt: skip
    made = {
        "rows": rows, "exports": exports, "put": put, "canaries": planted.persons, "notes": planted.notes,
        "planting": time.perf_counter() - begun, "planting processor": time.process_time() - spent,
    }  # fmt: skip
    told.write_text(json.dumps(made), encoding="utf-8")
    return made


def issue(base: str, exports: int) -> Figures:
    """Make the exports that are not there yet; seconds of each, by kind."""
    folder, told = Path(base), Path(base) / "exports.jsonl"
    strongroom.prepare()
    (folder / "copies").mkdir(exist_ok=True)
    with (
        strongroom.open_keymaster(str(folder / "keys"), passphrase=PASSPHRASE) as keys,
        strongroom.open(str(folder / "room"), keys=keys, actor="ana") as opened,
        told.open("a", encoding="utf-8") as file,
    ):
        done = {one.recipient for one in opened.exports() if one.state == "ended"}
        for number in range(exports):
            kind, name, path = kind_of(number), recipient(number), copy_of(folder, number)
            if name in done:
                continue
            begun, spent = time.perf_counter(), time.process_time()
            made = opened.export(
                ["persons", "deliveries"] if kind == "parcels" else "persons",
                to=str(path.parent) if kind == "parcels" else str(path),
                recipient=name, purpose="narrow" if kind == "filtered" else kind, reason="measuring",
                where="sex = '女'" if kind == "filtered" else None, format="parquet",
            )  # fmt: skip
            held = keys.exports.ledger.of(bytes.fromhex(made.export_id)).marked.held
            one = {
                "kind": kind, "seconds": time.perf_counter() - begun, "processor": time.process_time() - spent,
                "persons": made.persons, "canaries": len(held), "from": made.names_from,
            }  # fmt: skip
            file.write(json.dumps(one) + "\n")
            file.flush()
            if number >= KEPT:
                path.unlink()
    return {"exports": [json.loads(line) for line in told.read_text(encoding="utf-8").splitlines()]}


# -- traces --------------------------------------------------------------------------------------------------


def traces(base: str, repeats: int) -> Figures:
    """Publish and trace each case so many times: whom it names, and whom else; goes on after what is told already."""
    from bench.published import Publisher, cases

    folder, told = Path(base), Path(base) / "traces.jsonl"
    strongroom.prepare()
    made = json.loads((folder / "made.json").read_text(encoding="utf-8"))
    before = told.read_text(encoding="utf-8").splitlines() if told.exists() else []
    done = [json.loads(line) for line in before]
    publisher = Publisher(folder, made["rows"], design(made["rows"])[1])
    with (
        strongroom.open_keymaster(str(folder / "keys"), passphrase=PASSPHRASE) as keys,
        strongroom.open(str(folder / "room"), keys=keys, actor="ines") as opened,
        told.open("a", encoding="utf-8") as file,
    ):
        ids = {one.recipient: one.id for one in keys.exports.all("kit") if one.state == "ended"}
        filtered = {ids[recipient(n)] for n in range(made["exports"]) if kind_of(n) == "filtered"}
        for case in cases():
            for turn in range(repeats):
                if any((one["case"], one["turn"]) == (case.name, turn) for one in done):
                    continue
                sources = case.sources(turn)
                path = publisher.write(case, sources, turn)
                guilty = {ids[recipient(number)] for number in sources}
                possible = filtered if case.kind == "filtered" else set(ids.values()) - filtered
                one = {"case": case.name, "turn": turn, **_traced(keys, opened, path, guilty, possible)}
                done.append(one)
                file.write(json.dumps(one) + "\n")
                file.flush()
    return {"traces": done}


def _traced(keys: Any, opened: Any, path: Path, guilty: set[str], possible: set[str]) -> Figures:
    """One trace: exports named that were sources, that were not, and some that have everybody and are excluded.

    Args:
        keys: The keymaster.
        opened: The room.
        path: The sample.
        guilty: Exports whose copies it is made of.
        possible: Exports with all the room's persons that are in it.
    """
    from strongroom.trace.report import regulator
    from strongroom.trace.report.words import Words
    from strongroom.trace.tracing.facts import facts_of

    approval = agreed(keys, "ines", "incident")
    begun, spent = time.perf_counter(), time.process_time()
    found = opened.trace(path, purpose="incident", reason="measuring", approval=approval, persons=0)
    seconds, processor = time.perf_counter() - begun, time.process_time() - spent
    facts = facts_of(found, "measured")
    regulator.render(facts, Words())
    named = {one.export.id for one in facts.accused}
    excluded = {one.export.id for one in facts.excluded}
    verdict = found.weighed.verdict
    return {
        "named": len(named & guilty), "others": len(named - guilty), "sources": len(guilty),
        "excluded": len(excluded), "wrongly": len(excluded & possible),
        "finds": 0 if facts.weighing is None else facts.weighing.canaries, "seconds": seconds, "processor": processor,
        "persons": found.weighed.persons, "lookups": found.costs.lookups,
        "highest": max([one.log_e for one in (verdict.accused if verdict else ())], default=None),
        "next": float(found.weighed.others[-1]) if len(found.weighed.others) else None,
    }  # fmt: skip


def once(base: str, path: str) -> Figures:
    """One trace in a process of its own, for its memory; processor seconds."""
    folder = Path(base)
    strongroom.prepare()
    with (
        strongroom.open_keymaster(str(folder / "keys"), passphrase=PASSPHRASE) as keys,
        strongroom.open(str(folder / "room"), keys=keys, actor="ines") as opened,
    ):
        return _traced(keys, opened, Path(path), set(), set())


# -- the table -----------------------------------------------------------------------------------------------


def measure(folder: Path, rows: int, exports: int, repeats: int, report: Report) -> None:
    """All of it in a folder, going on where it was stopped."""
    folder.mkdir(parents=True, exist_ok=True)
    base = str(folder)
    made = run("endtoend room", base=base, rows=rows, exports=exports)
    say(f"  {rows:,} persons, {made['canaries']:,} canaries planted in {made['planting']:.0f} s")
    issued = run("endtoend issue", base=base, exports=exports)
    say(f"  {exports} exports issued")
    told = run("endtoend traces", base=base, repeats=repeats)["traces"]
    single = run("endtoend once", base=base, path=str(folder / "samples" / "one thief-0.csv"))
    report.rounds["endtoend"] = {"made": made, "issued": issued, "traces": told, "once": single}
    took = f"{made['planting processor']:.0f} s of processor"
    report.add("end to end: canaries planted", made["canaries"], note=took)
    for kind in sorted({one["kind"] for one in issued["exports"]}):
        own = [one for one in issued["exports"] if one["kind"] == kind]
        held = f"{own[0]['persons']:,} persons, {own[0]['canaries']:,} canaries; named from {own[0]['from']:,} rows on"
        report.add(f"end to end: an export, {kind}", median(own, "seconds"), unit="s", note=held)
    _cases(report, told, design(rows))
    others, wrongly = sum(one["others"] for one in told), sum(one["wrongly"] for one in told)
    excluded = sum(one["excluded"] for one in told)
    report.add(f"end to end: somebody else named, {len(told)} traces", others, target="0", reached=others == 0)
    report.add("end to end: exports excluded that have everybody", wrongly, target="0", reached=wrongly == 0,
               note=f"of {excluded:,} said not to be the only source")  # fmt: skip
    slowest = max(one["seconds"] for one in told)
    report.add("end to end: a trace, at most", slowest, unit="s", target="60 s", reached=slowest <= SECONDS)
    peak = single["rss_bytes"]
    report.add("end to end: one trace, peak memory", peak / MIB, unit="MiB", target="4 GiB", reached=peak <= 4 * GIB)


def _cases(report: Report, told: list[Figures], at: tuple[int, int]) -> None:
    """A line a case: in how many of how many a source is named."""
    from bench.published import cases

    colluders, sample = at
    for case in cases():
        own = [one for one in told if one["case"] == case.name]
        named, every = sum(one["named"] > 0 for one in own), sum(one["named"] == one["sources"] for one in own)
        wanted = case.wanted(colluders)
        target = {None: "", True: "every one", False: "nobody"}[wanted]
        finds = sum(one["finds"] for one in own) / len(own)
        silent = sum(not one["named"] and not one["others"] for one in own)
        both = f"; both {every}" if case.colluders == 2 else ""
        report.add(
            f"end to end, {sample:,} rows: {case.name}: a source named, of {len(own)}", named, target=target,
            reached=None if wanted is None else named == (len(own) if wanted else 0), hindrance=WHY,
            note=f"others {sum(one['others'] for one in own)}; silent {silent}{both}; {finds:.0f} canaries found",
        )  # fmt: skip


def measure_endtoend(setting: Setting, report: Report) -> None:
    """A room of the run's size, and its exports: each way to publish three times, of a million five times."""
    repeats = 3 if setting.rows < 1_000_000 else 5
    measure(setting.folder / "endtoend", setting.rows, exports_of(setting.rows), repeats, report)


def main() -> None:
    """Measure in a folder that is kept."""
    from bench.__main__ import table

    parser = argparse.ArgumentParser(prog="python -m bench.endtoend", description=__doc__)
    parser.add_argument("folder", type=Path, help="is made, or goes on")
    parser.add_argument("--rows", type=int, default=1_000_000, help="persons (1,000,000)")
    parser.add_argument("--exports", type=int, help="exports (200 of a million, at least 20)")
    parser.add_argument("--repeats", type=int, default=3, help="samples of each case (3)")
    options = parser.parse_args()
    report, exports = Report(), options.exports or exports_of(options.rows)
    measure(options.folder.resolve(), options.rows, exports, options.repeats, report)
    print(table(report))
    for row in report.rows:
        print(f"{row.measure}: {row.ours:.4g} {row.unit}  {row.note}")
    (options.folder / "endtoend.json").write_text(report.as_json() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
