"""Reports, fuzzed: whatever a name, a number or a file says, a page has the elements it always has, or an error comes out."""

import json
import math

import report_kit as kit
from hypothesis import example, given, settings
from hypothesis import strategies as st
from report_kit import Page, pages

from strongroom.errors import StrongroomError
from strongroom.trace.report import facts, filling, markup, regulator
from strongroom.trace.report.facts import Bin, Dating, Interval, Share, Snapshot, Weighing
from strongroom.trace.report.words import Words, from_toml

few = settings(max_examples=max(settings().max_examples // 3, 10), deadline=None)
PLAIN = {name: Page(page).elements for name, page in pages(kit.with_text(kit.whole(), "x"), kit.words_with("x")).items()}
BREAKS = st.lists(
    st.sampled_from(
        ["<", ">", "&", '"', "'", "`", "=", "/", "-->", "<!--", "]]>", "<script>", "</style>", "</svg>", "</title>", "\0", "\u202e", "\ud800",
         "&lt;", "&#60;", " onload=", "x", "\n", "\r", "\t", "{", "}", "\ufeff", "\x1b[", "王", "\U0001f600", "<![CDATA[", "<?", "%3C"]
    ),
    min_size=1,
    max_size=12,
).map("".join)  # fmt: skip
HOSTILE = BREAKS | st.text(min_size=1, max_size=40)


@few
@given(HOSTILE)
@example("<script>alert(1)</script>")
@example("\"'><svg onload=alert(1)>")
@example("</title></style></svg><img src=x onerror=alert(1)>")
@example("<!-- --!>")
@example("\ud800")
def test_a_name_never_becomes_markup(text):
    """With any text in the place of every name, a page has the same elements and attributes; and the text as text."""
    own = kit.words_with(text)
    for name, page in pages(kit.with_text(kit.whole(), text), own).items():
        found = Page(page)
        assert found.elements == PLAIN[name] or (not text.strip() and name != "report.html")
        assert found.other == []
        page.encode("utf-8")
        if text.strip():
            assert markup.clean(text).split()[0] in found.text
    assert "\u202e" not in regulator.render(kit.with_text(kit.whole(), text), own)


@given(HOSTILE)
def test_cleaned_text_has_nothing_that_hides(text):
    """Neither controls, nor what turns direction round, nor halves of characters are left; other text stays as it is."""
    kept = markup.clean(text)
    assert not [one for one in kept if (not one.isprintable() and one not in "\n\t ") and one.isascii()]
    assert markup.clean(kept) == kept
    kept.encode("utf-8")
    assert markup.clean("Universität 市登记处 ’x’") == "Universität 市登记处 ’x’"


counts = st.integers(0, 10**12)
part = st.floats(0, 1)
number = st.floats(-1e15, 1e15)
time = st.floats(-1e15, 1e15)
intervals = st.builds(Interval, start=time, stop=time, support=counts, mass=part)
spans = st.lists(intervals, max_size=3).map(tuple)
datings = st.builds(
    Dating, claimed=st.booleans(), period=intervals, why=st.text(max_size=9), rows=counts, informative=counts, empty=counts, foreign=part,
    log_e=number, best=spans, likely=spans, others=spans,
    snapshots=st.lists(st.builds(Snapshot, number=counts, at=time), max_size=9).map(tuple),
)  # fmt: skip
shares = st.builds(
    Share, tested=counts, matched=counts, chance=part, low=part, high=part, log_chance=number, shown=st.booleans()
)


@few
@given(datings, shares, st.lists(counts, min_size=3, max_size=3))
def test_any_numbers_are_drawn(dating, share, many):
    """Whatever numbers facts may have, pages are made of them, and no plot has a coordinate that is none."""
    value = facts.TraceFacts(
        room="r", room_id="", at=dating.period.start, sample=facts.Sample(name="s"), dating=dating,
        ours=facts.Ours(by_one=share, columns={"a.b": share}),
        affected=facts.Affected(persons=many[0], classes=(facts.ClassCount(name="c", persons=many[1]), facts.ClassCount(name="d", persons=many[2]))),
    )  # fmt: skip
    assert facts.from_json(facts.to_json(value)) == value
    for page in pages(value, Words()).values():
        found = Page(page)
        drawn = [v for _, name, v in found.values if name in {"x", "y", "x1", "x2", "y1", "y2", "width", "height"}]
        assert all(0.0 <= float(v) <= 10_000.0 for v in drawn)


@few
@given(st.lists(st.floats(-1e12, 22.9), max_size=30), st.integers(1, 10**6), st.floats(1e-12, 1e-9))
def test_any_evidence_is_counted(values, issued, epsilon):
    """Bins hold every export below the threshold once, and the plot stays within its frame."""
    threshold = math.log((issued + len(values)) / epsilon)
    below = [one for one in values if one < threshold]
    bins = filling.bins(below, threshold)
    assert sum(one.exports for one in bins) == len(below)
    assert all(isinstance(one, Bin) and one.low < one.high for one in bins)
    weighing = Weighing(ever_issued=issued + len(values), epsilon=epsilon, threshold=threshold, judged=len(below), unnamed=bins)
    value = facts.TraceFacts(room="r", room_id="", at=0.0, sample=facts.Sample(name="s"), weighing=weighing)
    found = Page(regulator.render(value, Words()))
    drawn = [float(v) for _, name, v in found.values if name in {"x", "x1", "x2"}]
    assert all(-1.0 <= v <= 721.0 for v in drawn)


@given(st.binary(max_size=200))
@example(b'{"strongroom": "strongroom trace facts", "version": 1, "facts": {}}')
@example(b"[" * 200_000)
def test_no_file_breaks_the_reader_of_facts(data):
    """Whatever the bytes, facts or an error of the library."""
    try:
        facts.from_json(data)
    except StrongroomError:
        pass


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@few
@given(st.data())
def test_no_altered_archive_breaks_the_reader_or_the_page(data):
    """An archive with any value in any place is refused, or makes pages."""
    value = json.loads(facts.to_json(kit.whole()))
    spot = value["facts"]
    while isinstance(spot, dict | list) and spot:
        key = data.draw(st.sampled_from(sorted(spot)) if isinstance(spot, dict) else st.integers(0, len(spot) - 1))
        if not isinstance(spot[key], dict | list) or not spot[key] or data.draw(st.booleans()):
            spot[key] = data.draw(json_values)
            break
        spot = spot[key]
    try:
        read = facts.from_json(json.dumps(value).encode("utf-8", "surrogatepass"))
    except StrongroomError:
        return
    for page in pages(read, Words()).values():
        assert Page(page).other == []


@given(st.text(max_size=80) | st.lists(st.sampled_from(["[en]", "kinds", "=", "'x'", "\n", "aware", "[", "]", "1", "[controller]", "name"])).map("".join))
def test_no_text_breaks_the_reader_of_words(text):
    """Whatever the text, words or an error of the library."""
    try:
        from_toml(text)
    except StrongroomError:
        pass
