"""Whoever names a recipient, a file or a column, or alters the archive of a trace, makes its report say or do nothing of theirs."""

import json
import math

import pytest
import report_kit as kit
from report_kit import Page, pages

from strongroom.errors import InputError, UsageError
from strongroom.trace.report import copies, facts, markup, regulator
from strongroom.trace.report.words import Words

NAMES = (
    "<script>fetch('//thief.example')</script>",
    "\"'><svg onload=fetch('//thief.example')>",
    "</title></style></svg></table></main><iframe srcdoc=x>",
    "<!--",
    "<plaintext>",
    "<base href=//thief.example>",
)
PLAIN = {name: Page(page).elements for name, page in pages(kit.with_text(kit.whole(), "x"), kit.words_with("x")).items()}


@pytest.mark.parametrize("name", NAMES)
def test_no_name_breaks_out_of_a_page(name):
    """A name of a recipient, file, column, table or reason is text in every page, and stands there as it is."""
    for page, text in pages(kit.with_text(kit.whole(), name), kit.words_with(name)).items():
        found = Page(text)
        assert found.elements == PLAIN[page]
        assert name in found.text


@pytest.mark.parametrize("name", NAMES[:3])
def test_control_names_break_out_where_text_is_not_escaped(monkeypatch, name):
    """With pages written without escaping, the same names are elements."""
    from xml.etree import ElementTree as ET

    monkeypatch.setattr(ET, "_escape_cdata", lambda text: text)
    found = Page(regulator.render(kit.with_text(kit.whole(), name), Words()))
    assert found.elements != PLAIN["report.html"]
    assert {tag for tag, _ in found.elements} & {"script", "iframe"} or any("onload" in attrs for _, attrs in found.elements)


def reversed_name():
    """A recipient whose name shows as another's: an override turns what follows it round."""
    return "\u202edrawkcab"


def test_a_name_cannot_be_shown_as_another():
    """What turns the direction of writing is shown as a character of its own."""
    value = kit.with_text(kit.whole(), reversed_name())
    assert "\u202e" not in "".join(pages(value, Words()).values())


def test_control_a_name_is_shown_as_another_where_text_is_not_cleaned(monkeypatch):
    """Without that the override is in the page."""
    monkeypatch.setattr(markup, "clean", lambda text: text)
    assert "\u202e" in regulator.render(kit.with_text(kit.whole(), reversed_name()), Words())


def framed():
    """The archive of a silent trace, into which somebody writes an accusation of 14 nats by canaries."""
    value = json.loads(facts.to_json(kit.whole()))
    victim = value["facts"]["excluded"][0]["export"]
    value["facts"]["accused"] = [{"export": victim, "canaries": {"log_e": 14.0, "held": 20, "offered": 20}, "tokens": None}]
    return value


def test_an_archive_cannot_be_made_to_name_an_export_below_the_bound():
    """Neither with the evidence as it was, nor with a lower threshold, a greater ε, fewer exports, or no weighing."""
    tricks = (
        {},
        {"threshold": 13.0},
        {"threshold": 13.0, "epsilon": 4.5e-4, "ever_issued": 1},
        {"ever_issued": 0},
        {"ever_issued": 1, "epsilon": 1e-9, "threshold": math.log(1e9)},
        {"ever_issued": 1, "judged": 1, "opened": 0, "epsilon": 1e-9, "threshold": math.log(1e9)},
        {"epsilon": 1e-3, "threshold": math.log(200e3)},
    )
    for trick in tricks:
        value = framed()
        value["facts"]["weighing"].update(trick)
        with pytest.raises((UsageError, InputError)):
            facts.from_json(json.dumps(value).encode())
    value = framed()
    value["facts"]["weighing"] = None
    with pytest.raises(UsageError, match="below the bound"):
        facts.from_json(json.dumps(value).encode())


def test_control_such_an_archive_names_the_export_where_the_bound_is_not_checked(monkeypatch):
    """With the check off, the report says that the innocent recipient's export is named."""
    monkeypatch.setattr(facts, "_reached", lambda *_: None)
    read = facts.from_json(json.dumps(framed()).encode())
    assert "received by court" in Page(regulator.render(read, Words())).text
    assert "One export is named" in copies.copies_in_words(read)

