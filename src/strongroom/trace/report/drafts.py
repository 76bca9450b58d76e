"""All drafts of a trace, by the name of their file."""

from __future__ import annotations

from strongroom.trace.report import gdpr, pipl
from strongroom.trace.report.facts import TraceFacts
from strongroom.trace.report.words import Words

_GDPR = {"gdpr-33-authority.html": gdpr.authority, "gdpr-34-persons.html": gdpr.persons}
_PIPL = {"pipl-57-authority-{}.html": pipl.authority, "pipl-57-persons-{}.html": pipl.persons}


def names(words: Words) -> list[str]:
    """The names that `render` gives."""
    return [*_GDPR, *(name.format(language) for language in dict.fromkeys(words.languages) for name in _PIPL)]


def render(facts: TraceFacts, words: Words) -> dict[str, str]:
    """The drafts as HTML documents: GDPR Articles 33 and 34, and PIPL Article 57 in the languages of the words."""
    found = {name: page(facts, words) for name, page in _GDPR.items()}
    for language in dict.fromkeys(words.languages):
        found |= {name.format(language): page(facts, words, language) for name, page in _PIPL.items()}
    return found
