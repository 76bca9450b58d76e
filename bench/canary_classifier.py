"""Can a classifier tell canary persons from real ones? `python -m bench.canary_classifier`; needs scikit-learn 1.7.

Gradient boosting on all columns and joins of the made-up city: values and their parts, agreements between fields,
counts of records, values that fields share, how often a value stands in the file, hashed n-grams of text, and gaps to
neighbours in sort order. AUC of five folds, each person in one fold, with a 95 % interval. Several cities have each
their own people, sample and canaries; the interval of their mean is the wider of what the areas say of themselves and
how far apart they are. A generator that draws each column for itself is the control: the same features must give it
away.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import pyarrow as pa

from bench.canary_city import city, made
from bench.canary_features import TABLES, features_of, grams_of
from bench.canary_numbers import HABITS, elsewhere

FOLDS = 5
SEED = 20261129
FIRST_CITY = 7


def auc(features: np.ndarray, canary: np.ndarray, group: np.ndarray) -> dict[str, float]:
    """Area under the curve with every row scored by a model that has not seen its person; and its 95 % interval."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score

    fold = np.random.default_rng(SEED).integers(0, FOLDS, int(group.max()) + 1)[group]
    score = np.zeros(len(canary))
    for k in range(FOLDS):
        learner = HistGradientBoostingClassifier(max_iter=100, learning_rate=0.1, random_state=SEED)
        learner.fit(features[fold != k], canary[fold != k])
        score[fold == k] = learner.predict_proba(features[fold == k])[:, 1]
    area = float(roc_auc_score(canary, score))
    positive = int(canary.sum())
    return {"auc": area, "half": 1.96 * _error(area, positive, len(canary) - positive), "best": _best(score, canary)}


def _error(area: float, positive: int, negative: int) -> float:
    """Standard error of an area under the curve (Hanley and McNeil 1982)."""
    q1, q2 = area / (2 - area), 2 * area * area / (1 + area)
    spread = area * (1 - area) + (positive - 1) * (q1 - area**2) + (negative - 1) * (q2 - area**2)
    return float(np.sqrt(max(spread, 0.0) / (positive * negative)))


def _best(score: np.ndarray, canary: np.ndarray) -> float:
    """Share of canaries among the one per cent that look most like one, over their share of all."""
    top = np.argsort(-score)[: max(1, len(score) // 100)]
    return float(canary[top].mean() / canary.mean())


def measure(
    tables: dict[str, pa.Table], canaries: dict[str, pa.Table], only: list[str], *, tokens: bool
) -> dict[str, dict[str, float]]:
    """Areas for persons with all joins, and for the rows of each table with what joins to them."""
    rng = np.random.default_rng(SEED)
    whole, canary = {}, {}
    for name, rows in tables.items():
        extra = canaries.get(name, rows.slice(0, 0))
        both = pa.concat_tables([rows, extra.select(rows.column_names).cast(rows.schema)])
        order = rng.permutation(len(both))
        whole[name] = both.take(pa.array(order))
        canary[name] = (order >= len(rows)).astype(int)
    found = {}
    for name, (block, person) in features_of(whole, tokens=tokens).items():
        if name not in only:
            continue
        chosen = _balanced(rng, canary[name], person)
        if canary[name][chosen].sum() < 100:
            continue
        seen = np.column_stack([block[chosen], *grams_of(whole[name], name, chosen)])
        found[name] = auc(seen, canary[name][chosen], person[chosen])
    return found


def _balanced(rng: np.random.Generator, canary: np.ndarray, person: np.ndarray) -> np.ndarray:
    """All rows of canaries, at most 12,000, and as many of people."""
    del person
    some = [rng.permutation(np.flatnonzero(canary == k)) for k in (1, 0)]
    count = min(12_000, *map(len, some))
    return np.sort(np.concatenate([s[:count] for s in some]))


def main() -> None:
    """Measure what is asked for and print a line for each area."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--persons", type=int, default=60_000)
    parser.add_argument("--canaries", type=int, default=6_000)
    parser.add_argument("--sample", type=float, default=0.25, help="share of the persons that is learnt from")
    parser.add_argument("--tables", nargs="+", default=list(TABLES))
    parser.add_argument("--settings", nargs="+", default=["full", "naive"])
    parser.add_argument("--cities", type=int, default=1, help="how many cities, each of another seed")
    parser.add_argument("--numbers", choices=HABITS, default="any", help="how reports and cases are numbered")
    parser.add_argument("--spare", type=int, default=2, help="identifiers the operator has for each that is needed")
    options = parser.parse_args()
    results: dict[str, dict[str, list[dict[str, float]]]] = {}
    for seed in range(FIRST_CITY, FIRST_CITY + options.cities):
        whole = city(options.persons, seed, options.numbers, options.spare * options.canaries)
        tables = whole.tables
        for setting in options.settings:
            began = time.process_time()
            canaries, seconds = made(setting, whole, options.canaries, options.sample, seed)
            print(f"{setting} city {seed}: {elsewhere(tables, canaries)}", flush=True)
            shown = {n: t for n, t in tables.items() if setting != "three tables" or n != TABLES[-1]}
            for name, area in measure(shown, canaries, options.tables, tokens=setting != "plain numbers").items():
                results.setdefault(setting, {}).setdefault(name, []).append(area)
                _say(f"{setting} city {seed}", name, area)
            print(f"{setting:14} made {seconds} ; measured in {time.process_time() - began:.0f} s of CPU", flush=True)
    for setting, areas in results.items():
        for name, each in areas.items():
            _say(f"{setting} mean", name, mean_of(each))
    print(json.dumps(results))


def mean_of(each: list[dict[str, float]]) -> dict[str, float]:
    """The mean of areas of several cities, and its 95 % interval."""
    areas = np.array([area["auc"] for area in each])
    own = float(np.sqrt(sum(area["half"] ** 2 for area in each))) / len(each)
    apart = 1.96 * float(areas.std(ddof=1)) / np.sqrt(len(areas)) if len(areas) > 1 else 0.0
    best = float(np.mean([area["best"] for area in each]))
    return {"auc": float(areas.mean()), "half": max(own, float(apart)), "best": best}


def _say(what: str, name: str, area: dict[str, float]) -> None:
    interval = f"{area['auc']:.4f} +- {area['half']:.4f}"
    print(f"{what:16} {name:16} AUC {interval}   top 1 %: {area['best']:.2f} x", flush=True)


if __name__ == "__main__":
    main()
