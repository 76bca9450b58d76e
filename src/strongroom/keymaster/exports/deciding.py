"""Whether a plan may be exported: each table, its fields, the condition, the recipient, and who asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from strongroom.errors import DeniedError, UsageError
from strongroom.keymaster.core import Core
from strongroom.keymaster.exports.api import TABLES_MAX, WHERE_LENGTH_MAX, ExportPlan
from strongroom.keymaster.readings import Reading
from strongroom.keymaster.releasing import whole_only
from strongroom.purpose.cedar import Decision
from strongroom.purpose.exports import decided_as
from strongroom.purpose.model import ExportRule
from strongroom.schema.model import OPEN, Table


def check_plan(plan: ExportPlan) -> None:
    """Raise UsageError for a plan that is none."""
    if not 0 < len(plan.tables) <= TABLES_MAX or len(set(plan.tables)) != len(plan.tables):
        raise UsageError(f"an export is of 1 to {TABLES_MAX} tables, each once")
    if len(plan.where) > WHERE_LENGTH_MAX:
        raise UsageError(f"a condition has at most {WHERE_LENGTH_MAX} characters")
    if bool(plan.where) != bool(plan.where_fields) or (plan.named and plan.where):
        raise UsageError("an export is of named subjects, or of those that a condition on open fields chooses")


@dataclass(frozen=True)
class AllowedExport:
    """What was decided of a plan: the purpose's rule, per table the model, its shown fields and sealed classes."""

    rule: ExportRule
    models: Mapping[str, Table]
    fields: Mapping[str, tuple[str, ...]]
    classes: Mapping[str, frozenset[str]]
    words: tuple[str, ...]
    decided_by: str

    @property
    def sealed(self) -> frozenset[str]:
        """Every sealed class that is shown of some table."""
        return frozenset().union(*self.classes.values())

    @property
    def told_classes(self) -> tuple[str, ...]:
        """Every class that is shown, for the entry."""
        views = (self.models[t].field(n).klass for t, names in self.fields.items() for n in names)
        return tuple(sorted(set(views)))

    @property
    def told_fields(self) -> tuple[str, ...]:
        """Names of the first table's fields as they are, of others behind the table's."""
        first = next(iter(self.fields))
        return tuple(n if t == first else f"{t}.{n}" for t, names in self.fields.items() for n in names)


def decide_export(core: Core, reading: Reading, plan: ExportPlan) -> AllowedExport:
    """Decide every table under the policy in force; DeniedError names the first rule that refuses."""
    standing, purpose = core.standing, reading.purpose.name
    if reading.warrant is not None:
        reading.warrant.check_export(plan)
    rule = standing.policy.purposes[purpose].export if purpose in standing.policy.purposes else None
    models, fields, classes, words, decided_by = {}, {}, {}, [], ""
    for at, name in enumerate(plan.tables):
        known = standing.schema.tables.get(name)
        word = decided_as(rule, "plain" if known is None else known.klass, named=plan.named)
        where = plan.where_fields if at == 0 else ()
        decider = standing.decider
        decision: Decision = decider.decide_read(reading.actor, purpose, word, name, None, list(where))
        standing.require(decision)
        model = models[name] = standing.schema.table(name)
        shown = [view for view in decision.views.values() if view.show != "withheld"]
        fields[name] = tuple(view.name for view in shown)
        classes[name] = frozenset(view.klass for view in shown if view.klass != OPEN)
        words.append(word)
        decided_by = decided_by or decision.rule
        if reading.holder.direct:
            whole_only(core, reading, classes[name] | ({OPEN} if model.open_fields else set()), model)
    if rule is None:
        raise DeniedError(f"purpose {purpose} does not allow export", rule=f"purposes.{purpose}.verbs")
    if plan.recipient not in rule.recipients:
        raise DeniedError(
            f"purpose {purpose} does not export to this recipient",
            rule=f"purposes.{purpose}.export.recipients",
            hint=f"recipients: {', '.join(rule.recipients)}",
        )
    return AllowedExport(rule, models, fields, classes, tuple(words), decided_by)
