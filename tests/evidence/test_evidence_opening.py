"""Opening one export's row: what is shown is what was committed to, and every other text is refused."""

import json

import numpy as np
import pytest
from evidence_kit import DESIGN, HALF, RARE, ROOM, ROOT, export, sample_of, whole_offers
from hypothesis import given
from hypothesis import strategies as st

from strongroom.audit.disclosure import disclose, disclosed_digest
from strongroom.audit.tlog import leaf_hash, tree_root, verify_inclusion
from strongroom.errors import InputError, IntegrityError, StrongroomError, UsageError
from strongroom.evidence.code import found
from strongroom.evidence.coderow import CodeRow, Offer, commit_row, open_row, row_key, row_opening
from strongroom.evidence.opening import Opened, PoolTree, Shown, check_accusation, read_opened, write_opened

SALT = b"s" * 16


def contents(pool, number):
    """What is committed to of a made-up canary."""
    return disclose(b"c" * 16, "canary", {"pool": pool, "number": number, "name": f"made up {number}"})


def pools(offers):
    """The trees of whole pools, and offers that name their roots."""
    trees = {}
    for offer in offers:
        digests = b"".join(disclosed_digest(contents(offer.pool, number)) for number in range(offer.count))
        trees[offer.pool] = PoolTree(np.frombuffer(digests, np.uint8).reshape(-1, 32))
    return trees, tuple(Offer(o.pool, o.bias, o.count, trees[o.pool].root) for o in offers)


@pytest.fixture(scope="module")
def case():
    """An export that published a tenth of its canaries, opened: (what is shown, commitment, digest of the finds)."""
    trees, offers = pools((Offer(0, RARE, 20_000), Offer(1, HALF, 2_000)))
    row = export(9, offers)
    sample = sample_of([row], np.random.default_rng(1), share=0.1)
    shown = tuple(Shown(p, n, contents(p, n), trees[p].path(n)) for p, n in zip(*sample.columns, strict=True))
    return Opened(row_opening(row, SALT), sample, shown), commit_row(row, SALT), sample.digest


def test_a_row_opens_to_itself():
    """The text of a row gives the row, against its commitment alone."""
    row = export(1, whole_offers())
    assert open_row(row_opening(row, SALT), commit_row(row, SALT)) == row


def test_a_commitment_depends_on_all_of_the_row_and_the_salt():
    """Another room, export, key, pool, bias, count, root or salt is another commitment."""
    row = export(1, (Offer(0, RARE, 10),))
    others = [
        CodeRow(bytes(16), row.export, row.key, row.offers), CodeRow(ROOM, bytes(16), row.key, row.offers),
        CodeRow(ROOM, row.export, bytes(32), row.offers), CodeRow(ROOM, row.export, row.key, ()),
        CodeRow(ROOM, row.export, row.key, (Offer(1, RARE, 10),)), CodeRow(ROOM, row.export, row.key, (Offer(0, HALF, 10),)),
        CodeRow(ROOM, row.export, row.key, (Offer(0, RARE, 11),)),
        CodeRow(ROOM, row.export, row.key, (Offer(0, RARE, 10, b"\x01" * 32),)),
    ]  # fmt: skip
    digests = {commit_row(one, SALT) for one in [row, *others]} | {commit_row(row, b"t" * 16)}
    assert len(digests) == len(others) + 2


@pytest.mark.parametrize(
    "value",
    [{}, [], None, {"code": 2}, {"code": 1, "room": "00" * 16, "export": "00" * 16, "key": "00" * 32, "offers": [[0, 1, 1]]},
     {"code": 1, "room": "0" * 32, "export": "0" * 32, "key": "0" * 64, "offers": [], "more": 1},
     {"code": 1, "room": "0" * 32, "export": "0" * 32, "key": "0" * 64, "offers": [[0, 0, 1, "0" * 64]]},
     {"code": 1, "room": "0" * 32, "export": "0" * 32, "key": "0" * 64, "offers": [[True, 5, 1, "0" * 64]]},
     {"code": 1, "room": "A" * 32, "export": "0" * 32, "key": "0" * 64, "offers": []}],
)  # fmt: skip
def test_what_is_no_row_does_not_open(value):
    """A commitment to something else than a code row, or to one written in another way, opens nothing."""
    text = disclose(SALT, "code row", value)
    with pytest.raises(IntegrityError):
        open_row(text, disclosed_digest(text))


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=4)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=8,
)


@given(json_values, st.sampled_from(["code", "room", "export", "key", "offers", None]))
def test_whatever_was_committed_to_as_a_row_opens_or_is_refused(value, part):
    """Any JSON in place of a row, or of one of its parts, is told as no code row: no other error comes out."""
    good = {"code": 1, "room": "0" * 32, "export": "0" * 32, "key": "0" * 64, "offers": []}
    text = disclose(SALT, "code row", value if part is None else good | {part: value})
    if part == "offers" and value == []:
        assert open_row(text, disclosed_digest(text)).offers == ()
    elif part == "code" and value == 1 and value is not True:
        assert open_row(text, disclosed_digest(text)).key == bytes(32)
    else:
        with pytest.raises(IntegrityError):
            open_row(text, disclosed_digest(text))


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 1000, 70_000])
def test_paths_lead_to_the_root_of_rfc_6962(size):
    """For any size the root is the Merkle tree hash, and a path proves its number and no other."""
    digests = np.random.default_rng(size).integers(0, 256, (size, 32), dtype=np.uint8)
    tree = PoolTree(digests)
    leaves = [leaf_hash(one.tobytes()) for one in digests]
    assert tree.root == tree_root(leaves)
    for number in {0, size // 2, size - 1}:
        verify_inclusion(leaves[number], number, size, tree.path(number), tree.root)
        with pytest.raises(IntegrityError):
            verify_inclusion(leaves[number], number + 1, size, tree.path(number), tree.root)
    with pytest.raises(UsageError):
        tree.path(size)
    with pytest.raises(UsageError):
        PoolTree(digests[:, :31])


def test_a_court_makes_the_accusation_again(case):
    """From the file alone, with commitments of the log, the same evidence comes out; by way of its bytes too."""
    opened, commitment, finds = case
    verdict = check_accusation(opened, commitment=commitment, finds=finds, ever_issued=DESIGN)
    again = read_opened(write_opened(opened))
    assert check_accusation(again, commitment=commitment, finds=finds, ever_issued=DESIGN) == verdict
    assert [one.export for one in verdict.accused] == [(9).to_bytes(16, "big")]
    assert verdict.ever_issued == DESIGN


def test_a_filter_is_applied_to_what_is_shown(case):
    """Canaries that the export's filter does not let through are not weighed."""
    opened, commitment, finds = case
    verdict = check_accusation(
        opened, commitment=commitment, finds=finds, ever_issued=DESIGN, fits=lambda one: one.number % 2 == 0
    )
    assert verdict.found == sum(one.number % 2 == 0 for one in opened.shown)


def test_the_row_of_another_export_stays_closed(case):
    """From an opened row no other row's key follows: the root key is not in it, and keys differ."""
    opened, commitment, _ = case
    row = open_row(opened.row, commitment)
    assert ROOT.hex().encode() not in opened.row
    assert row_key(row.key, (10).to_bytes(16, "big")) != row_key(ROOT, (10).to_bytes(16, "big"))


def test_every_find_offered_is_shown(case):
    """A find that is in the list and is not shown is told."""
    opened, commitment, finds = case
    with pytest.raises(IntegrityError, match="not just these are shown"):
        check_accusation(
            Opened(opened.row, opened.finds, opened.shown[1:]), commitment=commitment, finds=finds, ever_issued=DESIGN
        )


def test_finds_that_were_not_offered_need_not_be_shown(case):
    """Finds of other pools are in the list, with nothing to show of them."""
    opened, commitment, _ = case
    more = opened.finds.more([0, 7], [20_001, 1])
    verdict = check_accusation(
        Opened(opened.row, more, opened.shown), commitment=commitment, finds=more.digest, ever_issued=DESIGN
    )
    assert verdict.accused


@given(st.binary(max_size=300))
def test_bytes_that_are_no_such_file_are_refused(data):
    """Anything else than an opened row is told as that."""
    with pytest.raises(InputError):
        read_opened(data)


@given(json_values, st.sampled_from(["row", "finds", "shown"]))
def test_a_file_with_other_parts_is_refused_or_checked(value, part):
    """Whatever stands in a part, only our errors come out, of reading or of checking."""
    base = {"kind": "strongroom code row opened 1", "row": "", "finds": [], "shown": []}
    data = json.dumps(base | {part: value}).encode()
    with pytest.raises(StrongroomError):
        check_accusation(read_opened(data), commitment=bytes(32), finds=found([], []).digest, ever_issued=1)
