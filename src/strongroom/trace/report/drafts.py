"""All drafts of a trace, by the name of their file."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from strongroom.trace.report import gdpr, pipl
from strongroom.trace.report.facts import TraceFacts
from strongroom.trace.report.words import Words

Draft = Callable[[TraceFacts, Words], str]


def names(words: Words) -> list[str]:
    """The names that `render` gives."""
    return list(_drafts(words))


def render(facts: TraceFacts, words: Words) -> dict[str, str]:
    """The drafts as HTML documents: GDPR Articles 33 and 34, and PIPL Article 57 in the languages of the words."""
    return {name: draft(facts, words) for name, draft in _drafts(words).items()}


def _drafts(words: Words) -> dict[str, Draft]:
    found: dict[str, Draft] = {"gdpr-33-authority.html": gdpr.authority, "gdpr-34-persons.html": gdpr.persons}
    for language in words.languages:
        found[f"pipl-57-authority-{language}.html"] = partial(pipl.authority, language=language)
        found[f"pipl-57-persons-{language}.html"] = partial(pipl.persons, language=language)
    return found
