"""All drafts of a trace, by the name of their file."""

from __future__ import annotations

from strongroom.trace.report import gdpr, pipl
from strongroom.trace.report.facts import TraceFacts
from strongroom.trace.report.words import Words


def render(facts: TraceFacts, words: Words) -> dict[str, str]:
    """The drafts as HTML documents: GDPR Articles 33 and 34, and PIPL Article 57 in the languages of the words."""
    found = {
        "gdpr-33-authority.html": gdpr.authority(facts, words),
        "gdpr-34-persons.html": gdpr.persons(facts, words),
    }
    for language in dict.fromkeys(words.languages):
        found[f"pipl-57-authority-{language}.html"] = pipl.authority(facts, words, language)
        found[f"pipl-57-persons-{language}.html"] = pipl.persons(facts, words, language)
    return found
