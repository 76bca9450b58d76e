"""What a trace found, as facts that are kept; a report for the regulator; drafts of the notices that the law asks for."""

import dataclasses
import json
import math
import re
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import report_kit as kit
from leakforms import rows, schema, written
from report_kit import Page, pages

from strongroom.errors import InputError, UsageError
from strongroom.evidence.verdict import Accused, Verdict
from strongroom.trace import dating, ours
from strongroom.trace.leak.sample import LeakSample
from strongroom.trace.report import drafts, facts, files, filling, gdpr, pipl, regulator, shown
from strongroom.trace.report.words import Said, Words, from_toml, read

PERSONS = ("gdpr-34-persons.html", "pipl-57-persons-en.html", "pipl-57-persons-zh.html")
AUTHORITIES = ("gdpr-33-authority.html", "pipl-57-authority-en.html", "pipl-57-authority-zh.html")


def changed(value, **parts):
    """The same facts but for some."""
    return dataclasses.replace(value, **parts)


# -- facts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [kit.whole(), kit.silent()], ids=["whole", "silent"])
def test_facts_come_back_from_their_archive_and_make_the_same_pages(value):
    """What was archived is the same facts, the same text and the same pages."""
    text = facts.to_json(value)
    again = facts.from_json(text)
    assert again == value
    assert facts.to_json(again) == text
    assert pages(again, kit.words()) == pages(value, kit.words())


def test_an_archive_of_version_1_is_read_as_ever(project):
    """The file in tests/data holds the keys of version 1: whoever changes one has to change the version."""
    kept = (project / "tests" / "data" / "trace-facts-1.json").read_bytes()
    assert facts.to_json(kit.whole()) == kept
    assert facts.from_json(kept) == kit.whole()


def test_what_is_no_archive_is_refused_without_a_value():
    """Other files, other versions, and values of another kind are refused with their place."""
    good = json.loads(facts.to_json(kit.whole()))
    other = json.dumps({**good, "version": 2}).encode()
    with pytest.raises(InputError, match="version 2"):
        facts.from_json(other)
    with pytest.raises(InputError, match="does not hold what a trace found") as raised:
        facts.from_json(json.dumps({**good, "strongroom": "13800138000"}).encode())
    assert "13800138000" not in str(raised.value)
    good["facts"]["sample"]["files"][0]["rows"] = "13800138000"
    with pytest.raises(InputError, match=r"sample\.files\[0\]\.rows is not as it must be") as raised:
        facts.from_json(json.dumps(good).encode())
    assert "13800138000" not in str(raised.value)


def test_numbers_of_numpy_are_numbers():
    """What a trace computed goes in as it is."""
    value = changed(kit.whole(), at=np.float64(kit.NOW), entry=np.int64(7))
    assert facts.from_json(facts.to_json(value)) == changed(kit.whole(), entry=7)


def test_a_file_whose_name_is_no_text_is_archived():
    """Names of files may hold bytes that are no text: the archive has U+FFFD there, and makes the same pages."""
    value = changed(kit.whole(), sample=kit.sample(b"sample-\xff.csv".decode("utf-8", "surrogateescape")))
    again = facts.from_json(facts.to_json(value))
    assert again.sample.name == "sample-\ufffd.csv"
    assert facts.to_json(again) == facts.to_json(value)
    assert pages(again, Words()) == pages(value, Words())


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 1e16])
def test_a_number_that_is_none_is_refused(number):
    """No JSON has it, and no plot."""
    with pytest.raises(UsageError, match=r"facts\.weighing\.nearest"):
        changed(kit.whole(), weighing=changed(kit.weighing(), nearest=number))


@pytest.mark.parametrize(
    ("parts", "place"),
    [
        ({"entry": -1}, "facts.entry"),
        ({"room_id": "no hex"}, "facts.room_id"),
        ({"ours": facts.Ours(by_one=changed(kit.share(), high=1.5))}, "facts.ours.by_one.high"),
        ({"sample": facts.Sample(name="x", files=(facts.SampleFile(name="x", rows="3"),))}, "facts.sample.files[0].rows"),
    ],
)
def test_facts_that_could_not_be_read_again_cannot_be_made(parts, place):
    """What the archive would refuse is refused when it is made, with its place."""
    with pytest.raises(UsageError, match=re.escape(f"{place} is not as it must be")):
        changed(kit.whole(), **parts)


@pytest.mark.parametrize(
    "accused",
    [
        facts.Accused(export=kit.export()),
        facts.Accused(export=kit.export(), canaries=facts.ByCanaries(log_e=kit.THRESHOLD - 1e-9, held=9, offered=9)),
        facts.Accused(export=kit.export(), tokens=facts.ByTokens(rows=1, log_e=90.0, chance=1e-8)),
        facts.Accused(export=kit.export(), tokens=facts.ByTokens(rows=1, log_e=3.0, chance=1e-20)),
    ],
    ids=["nothing", "canaries", "chance", "evidence"],
)
def test_an_export_below_the_bound_cannot_be_named(accused):
    """Facts that name an export whose evidence is below the bound cannot be made."""
    with pytest.raises(UsageError, match="below the bound"):
        changed(kit.whole(), accused=(accused,))


def test_a_threshold_is_not_made_lower():
    """Neither a threshold beside N/ε, nor an ε that bounds nothing, nor canaries that were never weighed name anybody."""
    weak = facts.Accused(export=kit.export(), canaries=facts.ByCanaries(log_e=6.0, held=9, offered=9))
    with pytest.raises(UsageError, match="not the logarithm"):
        changed(kit.whole(), accused=(weak,), weighing=changed(kit.weighing(), threshold=5.0))
    with pytest.raises(UsageError, match="bound of false accusation is at most 1e-09"):
        loose = changed(kit.weighing(), threshold=math.log(200 / 0.9), epsilon=0.9)
        changed(kit.whole(), accused=(weak,), weighing=loose)
    with pytest.raises(UsageError, match="more exports were weighed"):
        changed(kit.whole(), weighing=changed(kit.weighing(), ever_issued=199, threshold=math.log(199 / 1e-9)))
    with pytest.raises(UsageError, match="below the bound"):
        changed(kit.whole(), accused=(weak,), weighing=None)


# -- from what other parts give ----------------------------------------------------------------------------


def test_a_sample_that_was_read_becomes_facts(tmp_path):
    """Files with digest and rows, columns by field, none of them with a value."""
    table = rows(40)
    path = tmp_path / "sample.csv"
    path.write_bytes(written(table))
    sample = LeakSample(path, schema())
    for _ in sample:
        pass
    found = filling.sample("a forum's file", sample.description, repeated=2)
    assert [one.rows for one in found.files] == [40]
    assert len(found.files[0].sha256) == 64
    assert {(one.table, one.field) for one in found.columns} >= {("persons", "mobile")}
    text = facts.to_json(changed(kit.silent(), sample=found)).decode()
    values = {value for row in table for value in row}
    assert not [value for value in values if len(value) > 4 and value in text]


def test_shares_and_dates_become_facts():
    """Bounds and intervals are those of the library; a chance of nought is a number."""
    judged = ours.judge(np.full(5_000, 2), np.full(5_000, 3), 0.0, columns={"persons.mobile": (10, 9, 0.0)})
    found = filling.ours(judged, error=1e-9)
    assert found.by_two.low == judged.by_two.low
    assert found.by_one.log_chance == filling.LOG_CHANCE_MIN
    assert found.columns["persons.mobile"].matched == 9
    start = np.arange(1_000, dtype=np.int64) % 900
    dated = dating.date_rows(start * 1_000, start * 1_000 + 120_000, period=(0, 1_000_000))
    told = filling.dated(dated, period=(0, 1_000_000), second=1_000.0, snapshots=[(1, 0.0), (2, 500.0)])
    assert told.claimed is dated.claimed
    assert (told.period.start, told.period.stop) == (0.0, 1_000.0)
    assert told.best[0].start == dated.best[0].start / 1_000.0
    regulator.render(changed(kit.silent(), ours=found, dating=told), Words())


def test_a_verdict_becomes_facts_and_the_others_are_counted_without_names():
    """Of the exports that are not accused neither id nor order is left, and all of them are in the bins."""
    named = Accused(bytes([9] * 16), 70.0, 30, 31)
    threshold = math.log(300 / 1e-9)
    verdict = Verdict((named,), 1e-9, 300, threshold, 299, 31, 12.5, (bytes(16),))
    others = np.concatenate([np.linspace(-900.0, 12.5, 298), [threshold - 1e-9]])
    weighed = filling.weighing(verdict, others, finds_digest=b"\xab" * 32, finds_entry=7)
    assert sum(one.exports for one in weighed.unnamed) == len(others)
    assert (weighed.ever_issued, weighed.canaries, weighed.opened, weighed.finds_digest) == (300, 31, 1, "ab" * 32)
    assert filling.weighing(verdict, others[::-1]).unnamed == weighed.unnamed
    canaries = facts.ByCanaries(log_e=named.log_e, held=named.held, offered=named.offered)
    accused = facts.Accused(export=facts.Export(id=named.export.hex(), recipient="uni-north"), canaries=canaries)
    page = regulator.render(changed(kit.silent(), weighing=weighed, accused=(accused,)), Words())
    assert named.export.hex() in page
    assert bytes(16).hex() not in page
    assert filling.bins([], threshold) == ()


# -- the report --------------------------------------------------------------------------------------------


def test_the_report_says_what_was_found():
    """Sample, share, accused export with its evidence and proof, exclusion, date, persons, list, limits."""
    text = Page(regulator.render(kit.whole(), kit.words())).text
    said = (
        "three files of a forum", "11" * 32, "87.0 MiB", "GB18030: 250,000 lines", "persons.mobile", "looked up", "damaged row groups",
        "At least 88.00 % and at most 93.00 % of 750,000 rows", "One export is named", f"Export {kit.EXPORT}, received by uni-north",
        "research-extract", "max", "3,100,000", "ln E = 98.4 reaches ln(N/ε) = 26.0 (N = 200, ε = 10⁻⁹)", "170 of 291 canaries",
        "3 rows have tokens of persons.person_id", "1204, 1207", "ab" * 32, "Strongest below it, not named11.4", "cd" * 32,
        "the person is not in it", "sample-1.csv17", "none of them is accused", "The data was taken between 2026-09-28",
        "612,345 persons of this room", "40,123", "mobile number", "waits for another person's agreement (approval a-17)",
        "spreadsheets in the archive: their kind is not read", "City Registry", regulator.digest(kit.whole()),
    )  # fmt: skip
    flat = text.replace(" ", "")
    assert [one for one in said if one.replace(" ", "") not in flat] == []


def test_a_silent_trace_is_silent_everywhere():
    """Nothing is named, claimed or counted that the facts do not have; the controller is a blank."""
    page = Page(regulator.render(kit.silent(), Words()))
    assert "No export is named" in page.text
    assert "That says nothing about any recipient" in page.text
    assert "Whether the sample is this room's was not shown" in page.text
    assert "When the data was taken is not claimed" in page.text
    assert "[to fill in: name and address of the controller]" in page.text
    assert not [tag for tag, _ in page.elements if tag == "svg"]


def test_a_date_that_is_not_claimed_is_not_drawn_or_told():
    """Best times of facts that claim none stay out of page and drafts."""
    unclaimed = changed(kit.dating(), claimed=False, why="half of the period is left")
    value = changed(kit.whole(), dating=unclaimed)
    text = Page(regulator.render(value, kit.words())).text
    assert "half of the period is left" in text
    for page in [text, *(Page(one).text for one in drafts.render(value, kit.words()).values())]:
        assert shown.moment(unclaimed.likely[0].start) not in page


def test_long_lists_are_cut_and_counted():
    """Ten thousand excluded exports are in the facts; the page shows two hundred and says how many it leaves out."""
    many = tuple(
        facts.Excluded(export=kit.export(n % 256), file="sample-1.csv", row=n, why="the person is not in it") for n in range(10_000)
    )  # fmt: skip
    page = regulator.render(changed(kit.whole(), excluded=many), kit.words())
    assert "9,800 further rows are left out here" in Page(page).text
    handful = facts.Handful(field="persons.mobile", rows=1, exports=tuple(f"{n:032x}" for n in range(999)), chance=0.9)
    unknown = changed(kit.sample(), unknown=tuple(f"column {n}" for n in range(1_000)))
    text = Page(regulator.render(changed(kit.whole(), handfuls=(handful,), sample=unknown), kit.words())).text
    assert ", and 969 more" in text
    assert ", and 900 more." in text
    assert len(page) < 200_000


@pytest.mark.parametrize("name", ["report.html", *PERSONS, *AUTHORITIES])
@pytest.mark.parametrize("value", [kit.whole(), kit.silent()], ids=["whole", "silent"])
def test_every_page_is_one_file_that_runs_and_fetches_nothing(name, value):
    """Nothing runs or is fetched; headings, tables and pictures are told to whoever does not see them; links lead somewhere."""
    text = pages(value, kit.words())[name]
    page = Page(text)
    tags = [tag for tag, _ in page.elements]
    assert not {"script", "iframe", "object", "embed", "link", "img", "form", "base", "audio", "video"} & set(tags)
    assert not [one for one in page.values if one[1].startswith("on") or one[1] in {"src", "style", "srcset", "action"}]
    assert all(value.startswith("#") and value[1:] in page.ids for _, name, value in page.values if name == "href")
    policy = next(value for tag, attr, value in page.values if tag == "meta" and "default-src" in (value or ""))
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert not re.search(r"url\(|@import|https?:", text)
    assert page.headings.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in zip(page.headings, page.headings[1:], strict=False))
    assert tags.count("table") == tags.count("caption")
    assert tags.count("svg") == sum(1 for one in page.elements if one == ("title", ("id",))) == tags.count("desc")
    assert len(page.ids) == len(set(page.ids))
    assert dict(page.elements)["html"] == ("lang",)
    assert ("html", "lang", "zh-Hans" if name.endswith("zh.html") else "en") in page.values


@pytest.mark.parametrize(("report", "folder"), [("r.html", "x" * 300), ("x" * 300, "drafts")])
def test_a_name_that_cannot_be_made_is_told_and_leaves_nothing(tmp_path, report, folder):
    """Whichever of them it is, and although that one cannot be taken away either."""
    with pytest.raises(UsageError, match="cannot be written"):
        files.write(kit.silent(), Words(), tmp_path / report, tmp_path / folder)
    assert list(tmp_path.iterdir()) == []


# -- drafts ------------------------------------------------------------------------------------------------


def test_the_draft_for_the_authority_has_what_article_33_asks_for():
    """(a) to (d), the 72 hours, the phases; about how many persons and records."""
    text = Page(gdpr.authority(kit.whole(), kit.words())).text
    for letter in "abcd":
        assert f"Article 33(3)({letter})" in text
    assert "Article 33(1)" in text
    assert "Article 33(4)" in text
    said = (
        "about 610,000", "about 40,000", "about 1,000,000", "cases: about 1,300 records (sensitive)", "residents", "dpo@registry.example",
        "Calls and messages that pretend to come from us.", "The recipient's access was ended", "All copies are being collected.",
        "2026-11-28 08:30:00 UTC", "2026-12-01 08:30:00 UTC", "uni-north", "not that its recipient published it", "first notification",
        "spreadsheets in the archive", "The names of the tables that the other files hold.",
    )  # fmt: skip
    assert [one for one in said if one not in text] == []


@pytest.mark.parametrize(("hours", "blank"), [(71, False), (73, True)])
def test_reasons_for_delay_are_asked_for_after_72_hours(hours, blank):
    """A trace that ended after the 72 hours leaves a blank for the reasons; one before does not."""
    aware = datetime.fromtimestamp(kit.NOW, UTC) - timedelta(hours=hours)
    text = Page(gdpr.authority(kit.whole(), Words(aware=aware))).text
    assert ("[to fill in: reasons for the delay" in text) is blank
    told = Page(gdpr.authority(kit.whole(), Words(aware=aware, en=Said(delay="The file was encrypted.")))).text
    assert "The file was encrypted." in told
    assert "[to fill in: reasons for the delay" not in told


@pytest.mark.parametrize("name", PERSONS)
def test_a_notice_to_persons_accuses_nobody_and_counts_nobody(name):
    """Kinds of data, what may follow, what was done, what to do, whom to ask; no recipient, no export, no number of persons."""
    text = Page(drafts.render(kit.whole(), kit.words())[name]).text
    for hidden in ("uni-north", kit.EXPORT, "court", "612,345", "610,000", "98.4", "sample-1"):
        assert hidden not in text
    kinds = ("手机号码", "刑事案件信息（敏感个人信息）") if name.endswith("zh.html") else ("mobile number", "criminal matter (sensitive)")
    said = kit.words().said("zh" if name.endswith("zh.html") else "en")
    for one in (*kinds, said.happened, *said.consequences, *said.measures, *said.advice, "dpo@registry.example"):
        assert one in text


@pytest.mark.parametrize("language", ["en", "zh"])
def test_drafts_under_the_pipl_have_what_article_57_asks_for(language):
    """Kinds, causes and harm; measures taken and to be taken by individuals; contact: with words, and as blanks without."""
    asked = ("kinds", "causes", "harm", "measures", "advice", "contact")
    for make in (pipl.persons, pipl.authority):
        full, empty = (Page(make(kit.whole(), words, language)) for words in (kit.words(), Words()))
        assert set(asked) <= set(full.ids)
        assert set(asked) <= set(empty.ids)
        assert "[to fill in" not in full.text
        assert "［待填写" not in full.text
        blanks = sum(1 for tag, attrs in empty.elements if tag == "mark")
        assert blanks >= len(asked)
        assert str(blanks) in empty.text


def test_both_languages_leave_the_same_blanks():
    """A draft in Chinese says and asks what the English one does."""
    for make in (pipl.persons, pipl.authority):
        for value in (kit.whole(), kit.silent()):
            english, chinese = (Page(make(value, Words(), language)) for language in ("en", "zh"))
            assert [tag for tag, _ in english.elements if tag in {"mark", "h2"}] == [
                tag for tag, _ in chinese.elements if tag in {"mark", "h2"}
            ]


@pytest.mark.parametrize("name", [*PERSONS, *AUTHORITIES])
def test_drafts_say_that_they_are_drafts_and_invent_nothing(name):
    """Without the controller's words everything that only they know is a marked blank, and its number is told first."""
    page = Page(drafts.render(kit.silent(), Words())[name])
    assert "DRAFT" in page.text or "草稿" in page.text
    assert sum(1 for tag, attrs in page.elements if tag == "mark") >= 5
    assert re.search(r"find out first whether there was a breach|请先确认是否确有泄露发生", page.text)
    whole = Page(drafts.render(kit.whole(), kit.words())[name])
    assert "DRAFT" in whole.text or "草稿" in whole.text
    assert not re.search(r"find out first|请先确认", whole.text)


def test_kinds_without_a_plain_name_are_blanks_for_persons():
    """A field's name is no word for a person to read."""
    text = Page(gdpr.persons(kit.whole(), Words())).text
    assert "[to fill in: a plain name for persons.mobile]" in text


# -- words -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("controller = [", "not TOML", None),
        ("[controller]\nname = 4", "controller.name is not as it must be", "docs/reference"),
        ("[controler]\nname = 'x'", "is not as it must be", "no such key: controler"),
        ("[officer]\nsecret-key-4711 = 'x'", "is not as it must be", "there is a key"),
        ("aware = 2026-11-28T08:30:00", "aware is not as it must be", "ends with Z"),
        ("languages = ['fr']", "languages", "docs/reference"),
        ("[authority]\nphase = '13800138000'", "authority.phase", "docs/reference"),
        ("x = " + "[" * 3_000, "not TOML", None),
    ],
)
def test_words_that_cannot_be_understood_are_refused_with_their_place(text, message, hint):
    """Where, and what to do; never what was said."""
    with pytest.raises(InputError, match=message) as raised:
        from_toml(text)
    assert "13800138000" not in f"{raised.value}{raised.value.hint}"
    assert hint is None or hint in raised.value.hint


def test_words_are_read_from_a_file(tmp_path):
    """A file as it is; one that is absent, or no text, is refused by name."""
    path = tmp_path / "words.toml"
    path.write_text(kit.WORDS, encoding="utf-8")
    assert read(path) == kit.words()
    path.write_bytes(b"\xff\xfe")
    for bad in (path, tmp_path / "absent"):
        with pytest.raises(InputError, match=bad.name):
            read(bad)


def test_the_example_of_the_reference_is_read(project):
    """The words of docs/reference/report.md are words."""
    text = (project / "docs" / "reference" / "report.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    words = from_toml(example)
    assert words.officer.reachable
    assert words.zh.controller


# -- numbers -----------------------------------------------------------------------------------------------


def test_bounds_are_rounded_to_their_own_side():
    """A lower bound is never told higher than it is, nor an upper one, or a chance, lower."""
    assert shown.share(0.99999) == "99.99 %"
    assert shown.share(0.00001, up=True) == "0.01 %"
    assert shown.share(1.0) == "100.00 %"
    assert shown.chance(math.log(3e-12)) == "at most 10⁻¹¹"
    assert shown.chance(math.log(1e-12)) == "at most 10⁻¹²"
    assert shown.chance(0.0) == "1"
    assert shown.tiny(1e-9) == "10⁻⁹"
    assert shown.tiny(2.1e-8) == "3 · 10⁻⁸"
    assert shown.tiny(0.03) == "0.030"
    assert [shown.rounded(n) for n in (0, 99, 612_345, 999_999)] == ["0", "99", "610,000", "1,000,000"]
    assert shown.moment(1e14) == "a time that no calendar has"
