"""Judge one submission: is the checkpoint signed by a log that is known, and does it continue the newest one?

Source: C2SP tlog-witness, add-checkpoint. The order of the checks, and what each answers:

| what is wrong | status |
| --- | --- |
| the body is no submission, or its old size is larger than the checkpoint | 400 |
| a log that is not known | 404 |
| no signature of a known key of the log, or a wrong one under a known key | 403 |
| the old size is not that of the newest cosigned checkpoint | 409, and that size |
| same size, another root | 409, and that size |
| the proof does not lead from the newest checkpoint to this one | 422 |

Rules it keeps:

1. Before a known log's signature was verified, an answer is a status and nothing else.
2. A checkpoint is kept, durably, before it is cosigned.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.audit.cosign import cosign
from strongroom.audit.note import Checkpoint, Note, is_signed_by, parse_checkpoint, parse_note, verify_note
from strongroom.audit.submission import SIZE_TYPE, cosignature_lines, parse_submission, size_line
from strongroom.audit.tlog import EMPTY_ROOT, verify_consistency
from strongroom.errors import IntegrityError, UnavailableError
from strongroom.witness.state import Newest

if TYPE_CHECKING:
    from strongroom.audit.submission import Submission
    from strongroom.witness.folder import WitnessKey
    from strongroom.witness.state import WitnessState

TEXT_TYPE = "text/plain; charset=utf-8"


@dataclass(frozen=True)
class Answer:
    """What a witness answers: status, content type, body."""

    status: int
    kind: str = TEXT_TYPE
    body: str = ""


class Judge:
    """Answers the submissions to one witness.

    Args:
        key: Name and seed.
        state: What it has cosigned.
        logs: The logs it knows: every key (32 bytes) by the log's name.
        clock: Seconds since 1970.
    """

    def __init__(
        self, key: WitnessKey, state: WitnessState, logs: Mapping[str, tuple[bytes, ...]], clock: Callable[[], float]
    ) -> None:
        self._key = key
        self._state = state
        self._logs = logs
        self._clock = clock

    def add(self, body: bytes) -> Answer:
        """Answer one `add-checkpoint`."""
        try:
            asked = parse_submission(body)
            note = parse_note(asked.checkpoint)
            point = _head(note)
        except IntegrityError:
            return Answer(400)
        keys = self._logs.get(point.origin)
        if keys is None:
            return Answer(404)
        if not _is_signed(asked.checkpoint, note, point.origin, keys):
            return Answer(403)
        if asked.old > point.size:
            return Answer(400)
        refused: list[Answer] = []
        seconds: list[int] = []

        def judge(newest: Newest | None) -> Newest:
            seconds.append(int(self._clock()))  # while nobody can come with a longer one
            answer = _refusal(asked, point, newest)
            if answer is not None:
                refused.append(answer)
                raise IntegrityError("the checkpoint does not continue the newest one")
            return Newest(point.size, point.root, asked.checkpoint)

        try:
            self._state.replace(point.origin, judge)
        except IntegrityError:
            return self._told(refused[0], point) if refused else Answer(500)
        except UnavailableError:
            return Answer(503)
        signature = cosign(note.text, self._key.name, self._key.seed, seconds[0])
        return Answer(200, body=cosignature_lines([signature]))

    def _told(self, answer: Answer, point: Checkpoint) -> Answer:
        """Tell the operator of a checkpoint that its log signed and that does not continue the newest one."""
        logging.getLogger("strongroom").warning(
            "log %s: refused a signed checkpoint of %d entries with %d", point.origin, point.size, answer.status
        )
        return answer


def _head(note: Note) -> Checkpoint:
    """Origin, size and root of a checkpoint, which may have further lines."""
    lines = note.text.split("\n")
    if len(lines) < 4 or not all(lines[:-1]):
        raise IntegrityError("a checkpoint must have three lines: origin, size, root")
    return parse_checkpoint("\n".join([*lines[:3], ""]))


def _is_signed(text: str, note: Note, origin: str, keys: tuple[bytes, ...]) -> bool:
    own = [key for key in keys if is_signed_by(text, origin, [key])]
    try:
        for key in own:
            verify_note(note, origin, key)
    except IntegrityError:
        return False
    return bool(own)


def _refusal(asked: Submission, point: Checkpoint, newest: Newest | None) -> Answer | None:
    known, root = (0, EMPTY_ROOT) if newest is None else (newest.size, newest.root)
    conflict = Answer(409, SIZE_TYPE, size_line(known))
    if asked.old != known:
        return conflict
    if asked.old == point.size and not hmac.compare_digest(root, point.root):
        return conflict
    try:
        verify_consistency(known, point.size, root, point.root, asked.proof)
    except IntegrityError:
        return Answer(422)
    return None
