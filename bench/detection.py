"""How often a published sample names its source, and how often somebody else: simulated with the code as it is.

What is real: sizes, coins (a key for every export), evidence and verdict. What is simulated: which rows of a file of a
billion are published; a canary is among them by chance, or by where it stands in the file. Of the innocent, 200,000 are
weighed with coins of their own; the hundred million have counts drawn from the distribution that coins have, each
weighed as `verdict` does, and beside them stands the sum over all counts that would accuse, which is no simulation.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bench.frame import Report, run

if TYPE_CHECKING:
    from bench.measures import Setting
    from strongroom.evidence.code import Found
    from strongroom.evidence.coderow import CodeRow, Offer

ROWS, SAMPLE, EXPORTS = 1_000_000_000, 750_000, 10_000
STRATEGIES = ("intersection", "union", "interleave", "majority", "coin", "minority")
LOST, FOREIGN = 0.3, 0.1
PARCELS = 3  # of a person, on average
WITH_MOBILE = 0.8
REGIONS = 31
ROOM = b"bench room......"
Numbers = list[npt.NDArray[np.uint64]]
"""Of each pool, the canaries whose rows stand where the sample was taken, whoever holds them."""
Taken = Callable[[np.random.Generator], Numbers]


@dataclass(frozen=True)
class Case:
    """One way to publish: how many sources, what they do with rows not all of them have, what gets lost or mixed in."""

    sources: int
    strategy: str = "union"
    lost: float = 0.0
    foreign: float = 0.0

    @property
    def name(self) -> str:
        """As the table says it."""
        return "one thief" if self.sources == 1 else f"{self.sources} colluders, {self.strategy}"


def detection(runs: int, innocents: int, seed: int = 5) -> dict[str, Any]:
    """All measures: shares of `runs` runs (a quarter where a sample is not random), and so many innocent exports."""
    from strongroom.evidence.code import sizes

    rng, offers = np.random.default_rng(seed), _offers(sizes(ROWS, colluders=2, sample=SAMPLE))
    took = time.process_time()
    cases = [Case(1), *[Case(2, name) for name in STRATEGIES]]
    design = {
        kind: {case.name: shares(case, offers, at_random(offers, SAMPLE), runs, rng) for case in changed}
        for kind, changed in {
            "as designed": cases,
            "30 % of canaries lost": [Case(c.sources, c.strategy, lost=LOST) for c in cases],
            "10 % foreign rows": [Case(c.sources, c.strategy, foreign=FOREIGN) for c in cases],
            "both": [Case(c.sources, c.strategy, LOST, FOREIGN) for c in cases],
        }.items()
    }
    layouts = {
        name: {case.name: shares(case, offers, taken, runs // 4, rng) for case in cases}
        for name, taken in layouts_of(offers, rng).items()
    }
    rising = [25_000, 50_000, 75_000, 100_000, 150_000, 200_000, 300_000, 400_000, 750_000]
    curves = {
        case.name: [[n, shares(case, offers, at_random(offers, n), max(50, runs // 7), rng)["named"]] for n in rising]
        for case in (cases[0], cases[1], cases[3], cases[4])
    }
    seconds = time.process_time() - took
    return {
        "runs": runs,
        "design": design,
        "layouts": layouts,
        "curves": curves,
        "innocents": accused_innocents(offers, innocents, rng),
        "weighing": weighing(offers, rng),
        "seconds": seconds,
    }


def _offers(plan: Any) -> tuple[Offer, ...]:
    from strongroom.evidence.coderow import Offer

    return tuple(Offer(pool, bias, count) for pool, (bias, count) in enumerate(plan.pools.items()))


def _row(number: int, offers: tuple[Offer, ...]) -> CodeRow:
    from strongroom.evidence.coderow import CodeRow, row_key

    name = number.to_bytes(16, "big")
    return CodeRow(ROOM, name, row_key(bytes(range(32)), name), offers)


# -- which rows are published ------------------------------------------------------------------------------


def at_random(offers: tuple[Offer, ...], published: int) -> Taken:
    """So many rows, each as likely as any other."""

    def take(rng: np.random.Generator) -> Numbers:
        return [_some(offer.count, published / ROWS, rng) for offer in offers]

    return take


def _some(count: int, share: float, rng: np.random.Generator) -> npt.NDArray[np.uint64]:
    """A random subset of 0 to count - 1, each with the same probability."""
    wanted = rng.binomial(count, share)
    drawn = np.unique(rng.integers(0, count, int(wanted * 1.2) + 20, dtype=np.uint64))
    return rng.permutation(drawn)[:wanted]


def layouts_of(offers: tuple[Offer, ...], rng: np.random.Generator) -> dict[str, Taken]:
    """Samples that are not random. Canaries stand in the file as persons do: anywhere, in regions by their size."""
    numbers = [rng.permutation(offer.count).astype(np.uint64) for offer in offers]  # in the order of the file
    places = [np.sort(rng.random(offer.count)) for offer in offers]
    sizes = 1 / np.arange(1, REGIONS + 1) ** 0.7
    edges = np.concatenate([[0.0], np.cumsum(sizes / sizes.sum())])
    owners = [np.repeat(np.arange(offer.count, dtype=np.uint64), rng.poisson(PARCELS, offer.count)) for offer in offers]

    def window(start: float, share: float) -> Numbers:
        ends = [np.searchsorted(one, [start, start + share]) for one in places]
        return [ns[a:b] for ns, (a, b) in zip(numbers, ends, strict=True)]

    def region(rng: np.random.Generator) -> Numbers:
        """The rows of one region, at random, whichever it is."""
        one = int(rng.integers(REGIONS))
        share = edges[one + 1] - edges[one]
        return [ns[_some(len(ns), SAMPLE / ROWS / share, rng)] for ns in window(edges[one], share)]

    def parcel_rows(rng: np.random.Generator) -> Numbers:
        """A random part of a table in which a person has three rows on average, and some have none."""
        return [np.unique(ns[_some(len(ns), SAMPLE / ROWS / PARCELS, rng)]) for ns in owners]

    def mobiles(rng: np.random.Generator) -> Numbers:
        return [_some(offer.count, SAMPLE / ROWS * WITH_MOBILE, rng) for offer in offers]

    return {
        "first rows": lambda rng: window(rng.random() * 0.99, SAMPLE / ROWS),
        "one region": region,
        "one table, three rows a person, any order": parcel_rows,
        "one table, three rows a person, first rows": lambda rng: window(rng.random() * 0.99, SAMPLE / ROWS / PARCELS),
        "mobile numbers alone, a fifth has none": mobiles,
        "where no canary stands (control)": lambda _: window(1.0, SAMPLE / ROWS),
    }


# -- what sources publish of them, and whom it names ----------------------------------------------------------


def shares(
    case: Case, offers: tuple[Offer, ...], taken: Taken, runs: int, rng: np.random.Generator
) -> dict[str, float]:
    """In how many runs a source was named, all sources were, somebody else was; finds on average."""
    from strongroom.evidence.verdict import judge

    named = whole = others = finds = 0
    for _ in range(runs):
        first = int(rng.integers(1 << 62))
        sources = [_row(first + n, offers) for n in range(case.sources)]
        mixed_in = _row(first + case.sources, offers)
        sample = _published(case, sources, mixed_in, taken(rng), rng)
        innocent = [_row(first + case.sources + 1 + n, offers) for n in range(3)]
        verdict = judge([*sources, *innocent], sample, ever_issued=EXPORTS)
        guilty = {one.export for one in sources}
        hit = {one.export for one in verdict.accused}
        named += bool(hit & guilty)
        whole += hit >= guilty
        others += bool(hit - guilty)
        finds += len(sample)
    low, high = wilson(named, runs)
    return {
        "named": named / runs,
        "low": low,
        "high": high,
        "all": whole / runs,
        "others": others,
        "finds": finds / runs,
    }


def _published(
    case: Case, sources: list[CodeRow], mixed_in: CodeRow, taken: Numbers, rng: np.random.Generator
) -> Found:
    """What is found: of the rows taken, what the sources have and show; a share of them comes from another export."""
    from strongroom.evidence.code import bits, found

    pools = np.repeat(np.arange(len(taken)), [len(one) for one in taken])
    standing = found(pools, np.concatenate(taken))
    table = bits([*sources, mixed_in], standing)
    foreign = rng.random(len(standing)) < case.foreign
    shown = rng.random(len(standing)) < _chance(case.strategy, table[:-1].sum(axis=0), case.sources)
    keep = np.where(foreign, table[-1], shown) & (rng.random(len(standing)) >= case.lost)
    return found(standing.pools[keep], standing.numbers[keep])


def _chance(strategy: str, holders: npt.NDArray[Any], colluders: int) -> npt.NDArray[np.float64]:
    """How likely a row is published that so many of the colluders have; never one that none has."""
    if colluders == 1:
        return holders.astype(np.float64)
    half = (np.sign(2 * holders - colluders) + 1) / 2
    some = {
        "intersection": np.zeros(len(holders)),
        "union": np.ones(len(holders)),
        "interleave": holders / colluders,
        "majority": half,
        "coin": np.full(len(holders), 0.5),
        "minority": 1 - half,
    }[strategy]
    return np.where(holders == 0, 0.0, np.where(holders == colluders, 1.0, some))


def wilson(hits: int, runs: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share (E. B. Wilson, 1927)."""
    share = hits / runs
    middle = (share + z * z / (2 * runs)) / (1 + z * z / runs)
    half = z * math.sqrt(share * (1 - share) / runs + z * z / (4 * runs * runs)) / (1 + z * z / runs)
    return max(0.0, middle - half), min(1.0, middle + half)


# -- the innocent --------------------------------------------------------------------------------------------


def accused_innocents(offers: tuple[Offer, ...], trials: int, rng: np.random.Generator) -> dict[str, Any]:
    """How many innocent exports are accused by samples of each kind, and how likely any of 10,000 is."""
    from strongroom.evidence.verdict import judge

    cases = [Case(1), *[Case(2, name, foreign=FOREIGN) for name in STRATEGIES], Case(2, "union", LOST)]
    accused, weighed, highest, worst = 0, 0, -math.inf, 0.0
    with_coins = 0
    for number, case in enumerate(cases):
        sources = [_row((number << 40) + n, offers) for n in range(3)]
        sample = _published(case, sources[: case.sources], sources[2], at_random(offers, SAMPLE)(rng), rng)
        table, chance = _table(offers, sample)
        threshold = math.log(EXPORTS / 1e-9)
        worst = max(worst, EXPORTS * float(chance[table >= threshold].sum()))
        for _ in range(math.ceil(trials / len(cases) / 1_000_000)):
            part = min(trials, 1_000_000)
            held = [rng.binomial(int((sample.pools == o.pool).sum()), o.bias / 2**32, part) for o in offers]
            values = table[tuple(held)]
            accused += int((values >= threshold).sum())
            weighed += part
            highest = max(highest, float(values.max()))
        coins = min(25_000, max(1_000, trials // 1_000))
        rows = (_row((number << 40) + 10 + n, offers) for n in range(coins))
        verdict = judge(rows, sample, ever_issued=max(EXPORTS, coins))
        accused += len(verdict.accused)
        with_coins += coins
    return {"accused": accused, "weighed": weighed, "with_coins": with_coins, "highest": highest, "any_of_10000": worst}


def _table(offers: tuple[Offer, ...], sample: Found) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Of an export that holds so many finds of each pool: ln E, and how likely an innocent one does."""
    from strongroom.evidence.code import Counts
    from strongroom.evidence.verdict import log_e

    most = [int((sample.pools == offer.pool).sum()) for offer in offers]
    held = np.stack([axis.reshape(-1) for axis in np.indices([n + 1 for n in most])], axis=1)
    order = np.argsort([offer.bias for offer in offers])
    counts = Counts(
        [bytes(16)] * len(held),
        tuple(sorted(offer.bias for offer in offers)),
        held[:, order],
        np.tile(np.array(most)[order], (len(held), 1)),
    )
    chance = np.ones([n + 1 for n in most])
    for axis, (n, offer) in enumerate(zip(most, offers, strict=True)):
        shape = [-1 if a == axis else 1 for a in range(len(most))]
        chance = chance * _binomial(n, offer.bias / 2**32).reshape(shape)
    return log_e(counts).reshape(chance.shape), chance


def _binomial(n: int, p: float) -> npt.NDArray[np.float64]:
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    k = np.arange(n + 1)
    return np.exp(logs[n] - logs[k] - logs[n - k] + k * math.log(p) + (n - k) * math.log(1 - p))


def weighing(offers: tuple[Offer, ...], rng: np.random.Generator) -> dict[str, float]:
    """Processor seconds to list an export's canaries, and to weigh 10,000 exports against few and many finds."""
    from strongroom.evidence.code import found, members
    from strongroom.evidence.verdict import judge

    begun = time.process_time()
    held = members(_row(1, offers))
    listing = time.process_time() - begun
    taken: dict[str, float] = {"listing": listing}
    rows = [_row(n, offers) for n in range(EXPORTS)]
    for name, share in (("few", SAMPLE / ROWS), ("many", 0.1)):
        some = [ns[rng.random(len(ns)) < share] for ns in held.values()]
        sample = found(np.repeat(list(held), [len(ns) for ns in some]), np.concatenate(some))
        begun = time.process_time()
        judge(rows, sample, ever_issued=EXPORTS)
        taken |= {name: time.process_time() - begun, f"finds {name}": float(len(sample))}
    return taken


# -- the table -------------------------------------------------------------------------------------------------


def measure_detection(setting: Setting, report: Report) -> None:
    """Detection at the design point: 2,000 runs of each kind and 10^8 innocent exports; quick: 300 and 10^6."""
    quick = setting.rows < 1_000_000
    got = run("detection", runs=300 if quick else 2_000, innocents=1_000_000 if quick else 100_000_000)
    report.rounds["detection"] = got
    for kind, by_case in got["design"].items():
        target = "" if kind == "both" else "99 %"
        for name, one in by_case.items():
            reached = None if kind == "both" else one["named"] >= 0.99
            note = f"95 %: {one['low']:.4f} to {one['high']:.4f}; both named {one['all']:.3f}; others {one['others']}"
            report.add(f"source named, {kind}: {name}", 100 * one["named"], unit="%", target=target, reached=reached,
                       note=note, hindrance="so many finds are too few")  # fmt: skip
    for name, by_case in got["layouts"].items():
        thief, worst = by_case["one thief"], min((one["named"], case) for case, one in by_case.items())
        note = f"{thief['finds']:.0f} finds; worst: {worst[1]}"
        report.add(f"source named, {name}: one thief", 100 * thief["named"], unit="%", note=note)
        report.add(f"source named, {name}: two, at worst", 100 * worst[0], unit="%", note=note)
    innocent = got["innocents"]
    highest, any_of = innocent["highest"], innocent["any_of_10000"]
    report.add(f"innocent exports accused, of {innocent['weighed'] + innocent['with_coins']:,}", innocent["accused"],
               unit="exports", target="0", reached=innocent["accused"] == 0,
               note=f"highest ln E {highest:.1f} of 29.9; any of 10,000 with probability {any_of:.1e}")  # fmt: skip
    for name in ("few", "many"):
        took = got["weighing"]
        report.add(f"weigh 10,000 exports, {took[f'finds {name}']:,.0f} finds", took[name], unit="s of processor")
    report.add("list the canaries of an export of a billion rows", got["weighing"]["listing"], unit="s of processor")
