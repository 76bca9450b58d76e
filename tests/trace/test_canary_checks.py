"""Check digits are learnt from the numbers alone, and kept."""

import numpy as np
import pyarrow as pa
import pytest
import stdnum.ean
import stdnum.isbn
import stdnum.luhn
from canary_kit import nhs

from strongroom.trace.canary.checks import learn_checks
from strongroom.trace.canary.numbers import Spread


def numbers(body, calculate, count=1500, seed=1):
    """Random numbers with a check character."""
    rng = np.random.default_rng(seed)
    bodies = ["".join(map(str, rng.integers(0, 10, body))) for _ in range(count)]
    return pa.array([b + str(calculate(b)) for b in bodies])


def isbn10(body):
    """The check character of an ISBN-10."""
    check = sum((i + 1) * int(c) for i, c in enumerate(body)) % 11
    return "X" if check == 10 else check


@pytest.mark.parametrize(
    ("body", "calculate", "valid"),
    [
        (15, stdnum.luhn.calc_check_digit, stdnum.luhn.is_valid),
        (14, stdnum.luhn.calc_check_digit, stdnum.luhn.is_valid),
        (12, stdnum.ean.calc_check_digit, stdnum.ean.is_valid),
        (9, isbn10, stdnum.isbn.is_valid),
    ],
    ids=["card", "luhn 15", "ean", "isbn 10"],
)
def test_numbers_get_the_check_digit_that_an_independent_validator_wants(body, calculate, valid):
    """Luhn, EAN and ISBN-10 are found without their names, and every number made is valid."""
    checks = learn_checks(numbers(body, calculate))
    random = numbers(body, lambda _: 0, 500, seed=9)
    made, good = checks.keep(random)
    assert good.all()
    assert all(valid(text) for text in made.to_pylist())
    assert np.mean([valid(text) for text in random.to_pylist()]) < 0.3


def test_numbers_that_no_check_digit_fits_are_told():
    """One patient number in eleven has no check digit: it is said so, to be drawn again."""
    rng = np.random.default_rng(4)
    sample = [n for n in (nhs(f"{k:09d}") for k in rng.integers(0, 10**9, 2000)) if n]
    checks = learn_checks(pa.array(sample))
    trial = pa.array([f"{k % 1000:03d} {k // 1000 % 1000:03d} {k // 10**6:04d}" for k in rng.integers(0, 10**10, 2000)])
    made, good = checks.keep(trial)
    assert 0.85 < good.mean() < 0.97
    for text, ok in zip(made.to_pylist(), good, strict=True):
        assert (nhs(text.replace(" ", "")[:9]) == text) == ok


def test_numbers_without_check_digits_stay_as_they_are():
    """Random digits satisfy nothing, and nothing is set."""
    column = numbers(9, lambda b: int(b) * 7 % 9)
    plain = pa.array([text[:9] for text in column.to_pylist()])
    checks = learn_checks(plain)
    assert checks.by_width == {}
    assert checks.keep(plain)[0].equals(plain)


def test_few_numbers_teach_nothing():
    """Equations that chance could satisfy are not believed."""
    assert learn_checks(pa.array(["123456782", "123456790"])).by_width == {}
    assert learn_checks(pa.array([], pa.string())).by_width == {}


def test_numbers_stay_on_their_grid_and_spread_as_the_sample():
    """New numbers are multiples of the step, lie between the first and the last, and are as dense as the old ones."""
    rng = np.random.default_rng(2)
    sample = 5 + 211 * rng.integers(0, 10**6, 3000) ** 2 // 10**6
    sample = 5 + (sample - 5) // 211 * 211
    spread = Spread.of(sample, np.arange(3000), 3000)
    made = spread.near(rng, rng.integers(0, 3000, 6000))
    assert spread.step == 211
    assert ((made - 5) % 211 == 0).all()
    assert made.min() >= sample.min()
    assert made.max() <= sample.max()
    assert np.quantile(made, [0.1, 0.5, 0.9]) == pytest.approx(np.quantile(sample, [0.1, 0.5, 0.9]), rel=0.1)
    assert np.isin(made, sample).mean() < 0.2
