"""Whoever wants the wrong recipient accused, or none: planted canaries, colluders, rows opened falsely or fitted afterwards."""

import math
from dataclasses import replace

import numpy as np
import pytest
from evidence_kit import DESIGN, HALF, RARE, STRATEGIES, export, sample_of, whole_offers

from strongroom.audit.disclosure import disclose, disclosed_digest
from strongroom.errors import IntegrityError
from strongroom.evidence.code import count_held, found, members
from strongroom.evidence.coderow import Offer, commit_row, open_row, row_opening
from strongroom.evidence.opening import Opened, PoolTree, Shown, check_accusation
from strongroom.evidence.verdict import judge, log_e

SALT = b"s" * 16
ISSUED = 5  # few exports: where planting what exists would tell most


@pytest.fixture(scope="module")
def rows():
    """Exports of the designed size, of which a quarter is a sample."""
    return [export(number, whole_offers()) for number in range(200)]


def planted(pool, numbers):
    """A sample of canaries alone, of one pool."""
    return found(np.full(len(numbers), pool), numbers)


# -- planting canaries to frame somebody ---------------------------------------------------------------------


@pytest.mark.parametrize("pool", [0, 1])
@pytest.mark.parametrize("size", [10, 300, 2_000])
def test_planting_canaries_from_the_register_frames_nobody(rows, pool, size):
    """An insider with every canary's contents, and without the coins, plants as many as they like: nobody is accused."""
    rng = np.random.default_rng(size)
    for _ in range(5):
        numbers = rng.choice(rows[0].offers[pool].count, size, replace=False)
        assert judge(rows, planted(pool, numbers), ever_issued=len(rows)).silent


def test_planting_all_canaries_there_are_frames_nobody(rows):
    """The whole register at once, the newest part of it, or its first part: silence."""
    counts = [offer.count for offer in rows[0].offers]
    for part in (slice(None), slice(-500, None), slice(0, 500)):
        numbers = [np.arange(count)[part] for count in counts]
        sample = found(np.repeat([0, 1], [len(one) for one in numbers]), np.concatenate(numbers))
        assert judge(rows, sample, ever_issued=len(rows)).silent


def test_control_a_pool_of_members_alone_would_frame_the_innocent(rows):
    """Control: were only canaries made that some export has, their existence would accuse all of a few exports."""
    issued = rows[:ISSUED]
    exist = np.unique(np.concatenate([members(row)[0] for row in issued]))
    sample = planted(0, np.random.default_rng(1).choice(exist, 400, replace=False))
    assert len(judge(issued, sample, ever_issued=ISSUED).accused) == ISSUED


def test_a_recipient_who_plants_their_own_rows_frames_nobody_else(rows):
    """A thief publishes their canaries beside others that exist: the thief may be named, an innocent export is not."""
    rng, thief = np.random.default_rng(2), rows[3]
    for share in (0.02, 0.2):
        sample = sample_of([thief], rng, share=share)
        noise = rng.choice(thief.offers[1].count, 200, replace=False)
        verdict = judge(rows, sample.more(np.ones(200, int), noise), ever_issued=DESIGN)
        assert {one.export for one in verdict.accused} <= {thief.export}


def test_control_whoever_has_the_coins_can_frame(rows):
    """Control: with the code key an insider plants just what one export holds; what the sample is, the code cannot tell."""
    victim = rows[7]
    verdict = judge(rows, planted(1, members(victim)[1][:100]), ever_issued=DESIGN)
    assert [one.export for one in verdict.accused] == [victim.export]


def test_an_export_whose_row_was_opened_is_framed_by_nobody(rows):
    """What a court has seen, anybody may plant: such an export is no longer weighed (the control above is the same sample)."""
    victim = rows[7]
    verdict = judge(rows, planted(1, members(victim)[1][:100]), ever_issued=DESIGN, opened={victim.export})
    assert verdict.silent
    assert verdict.spent == (victim.export,)


# -- colluders who compare their copies -----------------------------------------------------------------------


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_who_compare_their_copies_are_found(rows, strategy):
    """Two recipients see where their files differ and publish by any rule: one of them is named, and nobody else."""
    rng = np.random.default_rng(3)
    for first in range(0, 40, 2):
        verdict = judge(rows, sample_of(rows[first : first + 2], rng, strategy=strategy), ever_issued=DESIGN)
        named = {one.export for one in verdict.accused}
        assert named
        assert named <= {row.export for row in rows[first : first + 2]}


def test_more_colluders_than_planned_for_get_silence_not_somebody_else(rows):
    """Five recipients against a code for two: whatever they do, only they can be named."""
    rng = np.random.default_rng(4)
    for strategy in STRATEGIES:
        verdict = judge(rows, sample_of(rows[:5], rng, strategy=strategy), ever_issued=DESIGN)
        assert {one.export for one in verdict.accused} <= {row.export for row in rows[:5]}


def test_control_without_shared_canaries_an_intersection_goes_free(rows):
    """Control: with rare canaries alone, two who publish only what both have are not found."""
    rng = np.random.default_rng(5)
    sample = sample_of(rows[:2], rng, strategy="intersection", pools=[0])
    assert judge(rows, sample, ever_issued=DESIGN).silent
    assert not judge(rows, sample_of(rows[:2], rng, strategy="intersection"), ever_issued=DESIGN).silent


def test_control_testing_each_export_by_itself_would_accuse_the_innocent(rows):
    """Control: at one in a hundred for each export, as if it were the only one, samples accuse innocent exports; ours never."""
    rng, naive = np.random.default_rng(6), 0
    for thief in range(20):
        sample = sample_of([rows[thief]], rng)
        counts = count_held(rows, sample)
        p = np.array(counts.biases) / 2**32
        mean, spread = counts.offered @ p, np.sqrt(counts.offered @ (p * (1 - p)))
        naive += int(((counts.held.sum(axis=1) - mean) / spread > 2.33).sum()) - 1
        assert len(judge(rows, sample, ever_issued=DESIGN).accused) == 1
    assert naive > 10


def test_looking_again_after_every_find_accuses_nobody_innocent(rows):
    """Whoever adds finds one by one, and looks at innocent exports each time, waits in vain."""
    thief = export(10_000, whole_offers())
    sample = sample_of([thief], np.random.default_rng(7))
    order = np.random.default_rng(8).permutation(len(sample))
    best = -math.inf
    for stop in range(1, len(order), 8):
        seen = found(sample.pools[order[:stop]], sample.numbers[order[:stop]])
        best = max(best, float(log_e(count_held(rows[:100], seen)).max()))
    assert best < math.log(DESIGN / 1e-9) - 10


# -- showing a court something else than what was issued -------------------------------------------------------


@pytest.fixture(scope="module")
def trial():
    """A thief's sample, and for the thief and an innocent export: row, commitment, trees of the pools."""
    offers, trees = [], {}
    for pool, bias, count in ((0, RARE, 12_000), (1, HALF, 2_400)):
        digests = b"".join(disclosed_digest(contents(pool, number)) for number in range(count))
        trees[pool] = PoolTree(np.frombuffer(digests, np.uint8).reshape(-1, 32))
        offers.append(Offer(pool, bias, count, trees[pool].root))
    thief, innocent = (export(number, tuple(offers)) for number in (21, 22))
    return thief, innocent, sample_of([thief], np.random.default_rng(9), share=0.2), trees


def contents(pool, number):
    """What was committed to of a made-up person."""
    return disclose(b"c" * 16, "canary", {"pool": pool, "number": number, "name": f"made up {number}"})


def shown(sample, trees):
    """The finds as the room shows them."""
    places = zip(*sample.columns, strict=True)
    return tuple(Shown(pool, number, contents(pool, number), trees[pool].path(number)) for pool, number in places)


def check(opened, row, finds):
    """What a court does, with the commitment and the digest that the log has."""
    return check_accusation(opened, commitment=commit_row(row, SALT), finds=finds, ever_issued=DESIGN)


def test_control_the_true_row_is_opened_and_accuses_the_thief_alone(trial):
    """Control: opened as issued, the thief's row accuses; the innocent's, opened as well, does not."""
    thief, innocent, sample, trees = trial
    for row in (thief, innocent):
        opened = Opened(row_opening(row, SALT), sample, shown(sample, trees))
        verdict = check(opened, row, sample.digest)
        assert [one.export for one in verdict.accused] == [thief.export] * (row is thief)


@pytest.mark.parametrize("what", ["key", "export", "bias", "count", "root", "salt"])
def test_a_row_opened_falsely_is_refused(trial, what):
    """The thief's key under the innocent's name, another part of the pool, another salt: no text but one opens a commitment."""
    thief, innocent, sample, trees = trial
    first, second = innocent.offers
    rows = {
        "key": replace(innocent, key=thief.key),
        "export": replace(thief, export=innocent.export),
        "bias": replace(innocent, offers=(first, replace(second, bias=RARE))),
        "count": replace(innocent, offers=(replace(first, count=100), second)),
        "root": replace(innocent, offers=(first, replace(second, root=bytes(32)))),
        "salt": innocent,
    }
    text = row_opening(rows[what], SALT if what != "salt" else b"t" * 16)
    with pytest.raises(IntegrityError, match="committed to"):
        check(Opened(text, sample, shown(sample, trees)), innocent, sample.digest)


def fitted(innocent, few):
    """A row made after a few finds were seen: of some thousand keys, the one whose coins suit them best."""
    keys = (number.to_bytes(32, "little") for number in range(2_000))
    rows = [replace(innocent, export=key[:16], key=key, offers=innocent.offers[1:]) for key in keys]
    best = rows[int(log_e(count_held(rows, few)).argmax())]
    return replace(best, export=innocent.export)


def weak(row, few):
    """A verdict as of one export alone at one in twenty: what so short a search can reach."""
    return judge([row], few, ever_issued=1, epsilon=0.05)


def test_a_code_fitted_afterwards_opens_no_commitment(trial):
    """An insider with every key makes a row that suits the finds: it is not the one that the log committed to."""
    _, innocent, sample, _ = trial
    few = planted(1, sample.numbers[sample.pools == 1][:12])
    text = row_opening(fitted(innocent, few), SALT)
    with pytest.raises(IntegrityError):
        open_row(text, commit_row(innocent, SALT))


def test_control_without_the_commitment_a_fitted_code_accuses(trial):
    """Control: where nothing was committed to, the fitted row is read, and names the export that its true row does not."""
    _, innocent, sample, _ = trial
    few = planted(1, sample.numbers[sample.pools == 1][:12])
    row = fitted(innocent, few)
    assert open_row(row_opening(row, SALT), commit_row(row, SALT)) == row
    assert weak(innocent, few).silent
    assert [one.export for one in weak(row, few).accused] == [innocent.export]


def renumbered(innocent, sample):
    """The published made-up persons, given the numbers of canaries that the innocent export holds."""
    inside = members(innocent)
    lists = {pool: inside[pool][: int((sample.pools == pool).sum())] for pool in inside}
    false = found(np.repeat(list(lists), [len(one) for one in lists.values()]), np.concatenate(list(lists.values())))
    return false, tuple(zip(sample.columns[0], sample.columns[1], strict=True))


def test_canaries_numbered_afterwards_are_refused(trial):
    """An insider says that the persons published are those with the innocent's numbers: their place in the pool says no."""
    _, innocent, sample, trees = trial
    false, true = renumbered(innocent, sample)
    cards = tuple(
        Shown(pool, number, contents(*was), trees[pool].path(number))
        for (pool, number), was in zip(zip(*false.columns, strict=True), true, strict=False)
    )
    with pytest.raises(IntegrityError, match="not in the tree"):
        check(Opened(row_opening(innocent, SALT), false, cards), innocent, false.digest)


def test_control_without_the_roots_of_pools_new_numbers_accuse_the_innocent(trial):
    """Control: the same list, weighed without asking whether these persons had these numbers, names the innocent export."""
    _, innocent, sample, _ = trial
    false, _ = renumbered(innocent, sample)
    assert [one.export for one in judge([innocent], false, ever_issued=DESIGN).accused] == [innocent.export]


def chosen(innocent, sample):
    """Of what was found, what the innocent export holds by chance."""
    inside = members(innocent)
    keep = np.array([number in inside[pool] for pool, number in zip(*sample.columns, strict=True)])
    return found(sample.pools[keep], sample.numbers[keep])


def test_finds_chosen_afterwards_are_refused(trial):
    """An insider shows only those finds that the innocent export holds: the log names the whole list."""
    _, innocent, sample, trees = trial
    part = chosen(innocent, sample)
    for finds in (part, sample):
        with pytest.raises(IntegrityError):
            check(Opened(row_opening(innocent, SALT), finds, shown(part, trees)), innocent, sample.digest)


def test_control_without_the_list_in_the_log_chosen_finds_accuse_the_innocent(trial):
    """Control: were the list not fixed before coins are thrown for it, half of the finds would suit anybody."""
    _, innocent, sample, trees = trial
    part = chosen(innocent, sample)
    verdict = check(Opened(row_opening(innocent, SALT), part, shown(part, trees)), innocent, part.digest)
    assert [one.export for one in verdict.accused] == [innocent.export]
