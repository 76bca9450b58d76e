"""Facts of a made-up trace, whole and silent, and the words of a made-up controller."""

import dataclasses
import math
import re
from html.parser import HTMLParser

from strongroom.trace.report import drafts, regulator
from strongroom.trace.report import facts as f
from strongroom.trace.report.words import Authority, Contact, Said, Words, from_toml

DAY = 86_400.0
NOW = 1_795_937_600.0
THRESHOLD = math.log(200 / 1e-9)
EXPORT = "0f" * 16


def export(number=0, recipient="uni-north", **more):
    """One line of the ledger."""
    known = {
        "purpose": "research-extract", "approvers": ("max",), "actor": "ana", "at": NOW - 60 * DAY, "persons": 1_000_000,
        "records": 3_100_000, "tables": ("persons", "parcels"), "entries": (1204, 1207), "commitment": "ab" * 32,
    }  # fmt: skip
    return f.Export(id=f"{number:02x}" * 16, recipient=recipient, **(known | more))


def share(low=0.88, high=0.93, *, shown=True):
    """A share of 750,000 rows."""
    chance = 0.0001 if shown else 0.9
    return f.Share(
        tested=750_000, matched=682_500, chance=chance, low=low, high=high, log_chance=-1e6 if shown else -2.0, shown=shown
    )


def sample(name="three files of a forum"):
    """Files of two kinds, with what could not be read."""
    files = (
        f.SampleFile(name="sample-1.csv", sha256="11" * 32, bytes=91_234_567, form="csv", encodings={"GB18030": 250_000}, rows=250_000),
        f.SampleFile(
            name="sample-2.sql.gz", sha256="22" * 32, bytes=12_345, form="sql", rows=500_000, text_rows=4,
            unread={"damaged row groups": 17}, unread_bytes={"damaged row groups": 3_000}, replaced_bytes=5,
        ),
    )  # fmt: skip
    columns = (
        f.ColumnFound(file="sample-1.csv", column="mobile", table="persons", field="mobile", how="name", lookup="index", values=249_000),
        f.ColumnFound(file="sample-1.csv", column="column 4", table="persons", field="person_id", how="values", lookup="subject", values=9),
    )
    return f.Sample(name=name, files=files, columns=columns, unknown=("column 7",), repeated=1_200)


def affected():
    """Persons by table, class and kind, with a list that waits."""
    return f.Affected(
        persons=612_345, sure=610_000, chance_at_most=0.4, in_exports=1_000_000, minors=40_123,
        tables=(
            f.TableCount(table="persons", persons=612_345, records=612_345),
            f.TableCount(table="cases", persons=1_234, records=1_300, sensitive=True),
        ),
        classes=(
            f.ClassCount(name="contact", persons=600_000), f.ClassCount(name="sensitive", persons=1_234, rank="sensitive"),
            f.ClassCount(name="open", persons=612_345, rank="open"),
        ),
        kinds=(
            f.FieldCount(table="persons", field="mobile", class_name="contact", persons=600_000),
            f.FieldCount(table="cases", field="charge", class_name="sensitive", persons=1_234, rank="sensitive"),
        ),
        list=f.Notification(state="waiting", approval="a-17"),
    )  # fmt: skip


def dating(*, claimed=True):
    """A day in a period of two years, or nothing."""
    start = NOW - 730 * DAY
    inside = f.Interval(start=NOW - 61.5 * DAY, stop=NOW - 60.2 * DAY, support=700_000, mass=0.9993)
    best = f.Interval(start=NOW - 60.9 * DAY, stop=NOW - 60.5 * DAY, support=701_000, mass=0.4)
    return f.Dating(
        claimed=claimed, why="" if claimed else "no value changed in the period", period=f.Interval(start=start, stop=NOW),
        rows=740_000, informative=30_000, empty=400, foreign=0.1, log_e=51.2 if claimed else 0.0,
        best=(best,) if claimed else (), likely=(inside,) if claimed else (),
        snapshots=tuple(f.Snapshot(number=n, at=start + n * 7 * DAY) for n in range(105)),
    )  # fmt: skip


def weighing():
    """200 exports, one of which has 98 nats."""
    bins = tuple(f.Bin(low=-26.0 + 2 * n, high=-24.0 + 2 * n, exports=max(0, 30 - abs(n - 10) * 3)) for n in range(21))
    return f.Weighing(
        ever_issued=200, threshold=THRESHOLD, judged=199, canaries=291, nearest=11.4, unnamed=bins, opened=1,
        finds_digest="cd" * 32, finds_entry=2201,
    )  # fmt: skip


def whole():
    """A trace that says everything."""
    return f.TraceFacts(
        room="city records", room_id="5e" * 16, at=NOW, sample=sample(), actor="kit", purpose="trace", entry=2199, snapshot=104,
        ours=f.Ours(by_one=share(0.9, 0.95), by_two=share(), columns={"persons.mobile": share(), "persons.name": share(shown=False)}, untested=12),
        weighing=weighing(),
        accused=(
            f.Accused(
                export=export(15), canaries=f.ByCanaries(log_e=98.4, held=170, offered=291),
                tokens=f.ByTokens(rows=3, log_e=83.0, chance=1e-34, field="persons.person_id"),
            ),
        ),
        handfuls=(f.Handful(field="persons.mobile", rows=2, exports=(EXPORT, "aa" * 16), chance=0.03),),
        excluded=(f.Excluded(export=export(3, "court"), file="sample-1.csv", row=17, why="the person is not in it"),),
        dating=dating(), affected=affected(),
        limits=(f.Limit(what="spreadsheets in the archive", why="their kind is not read"),),
    )  # fmt: skip


def silent():
    """A trace that says nothing but that it was made."""
    return f.TraceFacts(room="city records", room_id="5e" * 16, at=NOW, sample=f.Sample(name="one file"))


WORDS = """
aware = 2026-11-28T08:30:00Z

[controller]
name = "City Registry"
address = "1 Archive Street"
phone = "+86 21 5550 0100"

[officer]
name = "The data protection officer"
email = "dpo@registry.example"

[authority]
name = "The supervisory authority"
phase = "first"

[en]
happened = "On 27 November a file with our records was offered on a forum."
causes = ["A copy that was handed to a research body was stolen there."]
persons = ["residents"]
consequences = ["Calls and messages that pretend to come from us."]
measures = ["The recipient's access was ended on 27 November."]
proposed = ["All copies are being collected."]
advice = ["Do not tell callers a code or a password, whoever they say they are."]
later = ["The names of the tables that the other files hold."]
kinds = { "persons.mobile" = "mobile number", "cases.charge" = "criminal matter" }

[zh]
controller = "市登记处"
contact = ["个人信息保护负责人", "dpo@registry.example"]
happened = "11月27日，有人在论坛上出售含有本处记录的文件。"
causes = ["提供给研究机构的副本在该机构被盗。"]
persons = ["居民"]
consequences = ["冒充本处的电话和短信。"]
measures = ["11月27日起已停止该接收方的访问。"]
advice = ["无论对方自称是谁，都不要告知验证码或密码。"]
kinds = { "persons.mobile" = "手机号码", "cases.charge" = "刑事案件信息" }
"""


def words():
    """What a controller says who says everything."""
    return from_toml(WORDS)


# -- pages, read by a parser of their own ------------------------------------------------------------------

_NO_TEXT = {"sha256", "id", "commitment", "finds_digest", "room_id", "rank", "state", "exports"}


def with_text(value, text, name=""):
    """The same facts with a text in the place of every name that comes from outside."""
    if dataclasses.is_dataclass(value):
        parts = {one.name: with_text(getattr(value, one.name), text, one.name) for one in dataclasses.fields(value)}
        return type(value)(**parts)
    if isinstance(value, tuple):
        return value if name in _NO_TEXT else tuple(with_text(one, text, name) for one in value)
    if isinstance(value, dict):
        return {f"{text}{number}": with_text(one, text, name) for number, one in enumerate(value.values())}
    return text if isinstance(value, str) and value and name not in _NO_TEXT else value


def words_with(text):
    """The words of a controller who says one text everywhere."""
    contact = Contact(name=text, email=text, phone=text, address=text)
    several = (text, text)
    said = Said(
        controller=text, contact=several, happened=text, causes=several, persons=several, consequences=several, measures=several, proposed=several,
        advice=several, delay=text, later=several, kinds={"persons.mobile": text, text: text},
    )  # fmt: skip
    return Words(controller=contact, officer=contact, authority=Authority(name=text, reference=text), en=said, zh=said)


class Page(HTMLParser):
    """A page as a parser sees it: its elements in order, each with the names of its attributes, and its text."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.values, self.other, self.inside, self.headings, self.parts = [], [], [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        self.values += [(tag, name, value) for name, value in attrs]
        self.inside.append(tag)
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append(int(tag[1]))

    def handle_endtag(self, tag):
        while self.inside and self.inside.pop() != tag:
            pass

    def handle_data(self, data):
        if "style" not in self.inside:
            self.parts.append(data)

    def handle_comment(self, data):
        self.other.append(data)

    def handle_pi(self, data):
        self.other.append(data)

    @property
    def text(self):
        """All text, white space made one."""
        return " ".join("".join(self.parts).split())

    @property
    def ids(self):
        return [value for _, name, value in self.values if name == "id"]


def pages(facts, own):
    """Every page that can be made of facts, by name."""
    return {"report.html": regulator.render(facts, own), **drafts.render(facts, own)}
