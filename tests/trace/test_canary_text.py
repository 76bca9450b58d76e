"""Texts of canaries: what stands where nothing is drawn, and what is drawn apart."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from strongroom.trace.canary.draw import Drawn, draw_nodes
from strongroom.trace.canary.nodes import learn_parents
from strongroom.trace.canary.text import Part, TextModel, learn_text
from strongroom.trace.canary.tokens import MARKS


def test_a_shape_in_which_nothing_is_drawn_has_its_one_text():
    """Some rows have a text whose every part is fixed."""
    part = Part(MARKS, None, pa.array(["--"]))
    model = TextModel("note", None, {1: [part, part]})
    drawn = Drawn({}, {"note": np.array([1, 0, 1])})
    assert model.make(np.random.default_rng(1), drawn, {}).to_pylist() == ["----", None, "----"]


TOWNS, ROADS, PEOPLE = 60, 80, 20_000


def streets_made(road_of, often):
    """Streets that four people of the sample live in, and those of 2,000 canaries; `road_of` each person's town."""
    rng = np.random.default_rng(4)
    town = rng.integers(0, TOWNS, PEOPLE)
    road = road_of(rng, town)
    letters = np.array([2 * chr(0x4E00 + k) for k in range(TOWNS * ROADS)])
    text = pa.array(np.char.add(np.char.add(letters[town], "镇"), np.char.add(letters[road], "路")))
    model = learn_text("street", text, np.arange(PEOPLE), least=2, often=often, rare_parts=False, link_of=lambda _: "")
    drawn = draw_nodes(rng, learn_parents(model.nodes, []), {}, 2000)
    return text, model.make(rng, drawn, {})


def test_halves_of_a_street_that_tell_nothing_of_each_other_are_drawn_apart():
    """Any road is in any town: which streets are in the sample is luck, and canaries live in others too."""
    text, made = streets_made(lambda rng, town: rng.integers(0, ROADS, len(town)), 40)
    sample = pc.is_in(made, text.unique()).to_numpy(zero_copy_only=False)
    assert 0.9 < sample.mean() < 0.998
    _, whole = streets_made(lambda rng, town: rng.integers(0, ROADS, len(town)), 2)
    assert pc.all(pc.is_in(whole, text.unique())).as_py()


def test_halves_of_a_street_that_depend_on_each_other_stay_together():
    """Each town has roads of its own: no canary lives in a street that is not there."""
    text, made = streets_made(lambda rng, town: town * ROADS + rng.integers(0, ROADS, len(town)), 40)
    assert pc.all(pc.is_in(made, text.unique())).as_py()
