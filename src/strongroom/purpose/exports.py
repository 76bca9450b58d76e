"""What a purpose says of exports: to whom, how many persons, with which canary persons.

Rules it keeps:

1. A purpose that exports names its recipients and an export budget; whatever is not named is refused.
2. It says of its copies either what canary persons must withstand, or that decisions about single people are taken on
   them, which then have none.
3. All of a sensitive table goes out only under a law that is named, and another person's agreement every time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from strongroom.errors import PolicyError
from strongroom.purpose.model import WINDOWS, Budget, CanaryRule, ExportRule
from strongroom.purpose.toml import Node, check_name

if TYPE_CHECKING:
    from strongroom.purpose.cedar import Decision
    from strongroom.purpose.model import Purpose

VERB = "export"
NAMED = "export-named"
STATUTORY = "export-statutory"
COLLUDERS_MAX = 5
RECIPIENTS_MAX = 1_000


def read_budget(node: Node, key: str) -> Budget:
    """A budget that must be there: at least one window.

    Raises:
        PolicyError: It is not, or has another word.
    """
    if not node.has(key):
        raise PolicyError(
            f"{node.path} has no {key}",
            hint=f"{key} = {{ hour = …, day = …, month = … }}, at least one of them",
        )
    inner = node.table(key)
    inner.only(*WINDOWS)
    if not inner.names():
        raise PolicyError(f"{inner.path} names no window", hint="hour, day or month (30 days)")
    return Budget(*(inner.count(window) for window in WINDOWS))


def read_export(node: Node, verbs: tuple[str, ...]) -> ExportRule | None:
    """Read `export` of a purpose.

    Raises:
        PolicyError: It says what it may not, or stands without the verb, or the verb without it.
    """
    if (VERB in verbs) != node.has("export"):
        raise PolicyError(
            f"{node.path} must give export both ways or not at all",
            hint='verbs = ["export"] and export = { recipients = [...], budget = {...}, canaries = {...} }',
        )
    if not node.has("export"):
        return None
    inner = node.table("export")
    inner.only("recipients", "budget", "canaries", "decides", "statutory")
    recipients = inner.words("recipients")
    if not 0 < len(recipients) <= RECIPIENTS_MAX:
        raise PolicyError(f"{inner.path} has no recipients, or too many", hint='recipients = ["uni-north"]')
    for name in recipients:
        check_name(name, f"a recipient in {inner.path}")
    decides = inner.flag("decides")
    if decides == inner.has("canaries"):
        raise PolicyError(
            f"{inner.path} must have canaries, or say that it decides, and not both",
            hint="canaries = { colluders = 2, sample = 750_000 }; or decides = true, where decisions about single"
            " people are taken on the copy",
        )
    canaries = None if decides else _canaries(inner.table("canaries"))
    return ExportRule(recipients, read_budget(inner, "budget"), canaries, decides, _statutory(node, inner))


def _canaries(node: Node) -> CanaryRule:
    node.only("colluders", "sample")
    colluders, sample = node.count("colluders", 1), node.count("sample", 1)
    if colluders is None or sample is None or colluders > COLLUDERS_MAX:
        raise PolicyError(
            f"{node.path} must say colluders, at most {COLLUDERS_MAX}, and sample, in rows",
            hint="canaries = { colluders = 2, sample = 750_000 }",
        )
    return CanaryRule(colluders, sample)


def _statutory(purpose: Node, node: Node) -> str | None:
    law = node.text("statutory")
    if law is not None and not purpose.table("approval").flag("always"):
        raise PolicyError(
            f"{node.place('statutory')} needs another person's agreement every time",
            hint=f"{purpose.place('approval')} = {{ roles = [...], always = true }}",
        )
    return law


def decided_as(rule: ExportRule | None, table_class: str, *, named: bool) -> str:
    """The word that an export of one table is decided by."""
    if named:
        return NAMED
    return STATUTORY if table_class == "sensitive" and rule is not None and rule.statutory is not None else VERB


def export_verbs(purpose: Purpose) -> list[str]:
    """The further words that a purpose with the verb export may be decided by."""
    if purpose.export is None:
        return []
    return [NAMED] if purpose.export.statutory is None else [NAMED, STATUTORY]


def export_lines(purpose: Purpose) -> Iterator[str]:
    """What `explain` says of exports."""
    rule = purpose.export
    if rule is None:
        return
    marks = "no canary persons: decisions about single people are taken on the copy"
    if rule.canaries is not None:
        marks = f"canary persons against {rule.canaries.colluders} together, in a sample of {rule.canaries.sample} rows"
    yield f"  exports to: {', '.join(rule.recipients)}; {marks}"
    if rule.canaries is not None:
        takes = "" if purpose.approval is not None else ", and this purpose takes none"
        yield "  where canary persons are planted, named subjects and copies that are too small for them take another"
        yield f"  person's agreement{takes}"
    if rule.statutory is not None:
        yield f"  sensitive tables whole, by: {rule.statutory}"


def dense_lines(purpose: Purpose, table: str, decision: Decision, dense: Collection[str]) -> Iterator[str]:
    """What `explain` says of fields by which canaries are told, where exports with canaries show them plain."""
    if purpose.export is None or purpose.export.canaries is None:
        return
    for view in decision.views.values():
        if view.show == "plain" and f"{table}.{view.name}" in dense:
            told = "shows whom canaries are: export it as a token"
            yield f"  {view.name} {told}"
