"""A court is shown a code row that was made up once the sample was seen, by an operator who has every key."""

from dataclasses import replace

import numpy as np
import pytest
from evidence_kit import HALF, export
from row_kit import SALT, RowLog, file_of, text_of

from strongroom.audit.cosign import make_quorum
from strongroom.audit.note import open_checkpoint
from strongroom.audit.proof import parse_proof
from strongroom.errors import IntegrityError
from strongroom.evidence import rowfile
from strongroom.evidence.code import count_held, found
from strongroom.evidence.coderow import Offer, commit_row, row_opening
from strongroom.evidence.rowfile import verify_row_file
from strongroom.evidence.verdict import judge, log_e

FINDS = found(np.zeros(12, int), np.arange(40, 52))
WITNESS = ("north.example/w", b"\1" * 32)


class Case:
    """The log from before, the export of an innocent recipient in it, and the row that the operator made afterwards."""

    def __init__(self):
        self.log, self.row = RowLog(), export(9, (Offer(0, HALF, 2_000),))
        self.log.note("get")
        self.began = self.log.began(self.row)
        self.witness = self.log.cosigned_by(*WITNESS)
        self.traced = self.log.traced(FINDS.digest)
        self.opened = self.log.opened(self.row)
        keys = [replace(self.row, key=number.to_bytes(32, "little")) for number in range(2_000)]
        self.made_up = keys[int(log_e(count_held(keys, FINDS)).argmax())]

    def file(self):
        return file_of(self.log, self.row, self.began, self.opened)

    def says(self, text, **more):
        """Whom the finds accuse by the row that a file proves; one export alone at one in twenty, as so short a search reaches."""
        row = verify_row_file(text, self.log.public, **more).row
        return [one.export for one in judge([row], FINDS, ever_issued=1, epsilon=0.05).accused]


@pytest.fixture
def case():
    return Case()


def with_row(case, file, entry=None):
    """The file with the row that was made up, and the export's entry as the operator would have it."""
    began = file["export"] | ({} if entry is None else {"entry": entry})
    return text_of(file | {"row": row_opening(case.made_up, SALT).decode(), "export": began})


def new_entry(case):
    """The export's entry with another commitment: made anew in both lines."""
    log = RowLog()
    log.entries = [b"{}"] * case.began
    log.began(case.made_up)
    return log.entries[-1].decode()


def test_attack_the_row_is_made_up_afterwards(case):
    """The row alone; with its commitment in the second line of the entry; with an entry made anew: none of it is in the log."""
    file = case.file()
    assert case.says(text_of(file)) == []
    second = file["export"]["entry"].replace(commit_row(case.row, SALT).hex(), commit_row(case.made_up, SALT).hex())
    for entry, why in ((None, "committed to"), (second, "committed to"), (new_entry(case), "not in the tree")):
        with pytest.raises(IntegrityError, match=why):
            case.says(with_row(case, file, entry))


def test_control_whoever_does_not_ask_the_log_accuses_the_innocent(case, monkeypatch):
    """Control: the entry made anew, by a verifier who believes the number that a proof states."""

    def believed(text, _entry, origin, public_key):
        proof = parse_proof(text)
        return proof.index, open_checkpoint(proof.checkpoint, origin, public_key)

    monkeypatch.setattr(rowfile, "verify_proof", believed)
    assert case.says(with_row(case, case.file(), new_entry(case))) == [case.row.export]


def made_anew(case):
    """The file of another log, under the true key, in which the export's entry has another commitment."""
    anew = RowLog()
    anew.entries = [*case.log.entries]
    anew.entries[case.began] = new_entry(case).encode()
    return text_of(file_of(anew, case.made_up, case.began, case.opened))


def test_attack_the_log_is_made_anew_with_its_own_key(case):
    """Another log from the export's entry on, under the true key: no witness that saw the first has cosigned it."""
    rule = make_quorum(1, [case.witness])
    assert case.says(text_of(case.file()), quorum=rule) == []
    with pytest.raises(IntegrityError, match="0 of the 1 cosignatures"):
        case.says(made_anew(case), quorum=rule)


def test_control_who_names_no_witness_believes_whoever_has_the_log_s_key(case):
    """Control: the same file, verified by the log's key alone."""
    assert case.says(made_anew(case)) == [case.row.export]


def noted_again(case, *finds):
    """The file of an entry added to the true log, with the commitment to the new row, and of an opening after it."""
    began = case.log.began(case.made_up)
    return text_of(file_of(case.log, case.made_up, began, case.log.opened(case.made_up), *finds))


def test_attack_the_export_is_noted_a_second_time_afterwards(case):
    """The finds were noted before that entry: with theirs the file is refused, and the true one is not."""
    with pytest.raises(IntegrityError, match="were not noted between"):
        case.says(noted_again(case, case.traced))
    true = verify_row_file(text_of(file_of(case.log, case.row, case.began, case.opened, case.traced)), case.log.public)
    assert true.finds.finds == FINDS.digest.hex()


def test_control_who_is_not_shown_when_finds_were_noted_accuses_the_innocent(case):
    """Control: the same entries without that of the finds, which nobody compares numbers with."""
    assert case.says(noted_again(case)) == [case.row.export]
