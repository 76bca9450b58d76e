"""Texts of canaries: what stands where nothing is drawn."""

import numpy as np
import pyarrow as pa

from strongroom.trace.canary.draw import Drawn
from strongroom.trace.canary.text import Part, TextModel
from strongroom.trace.canary.tokens import MARKS


def test_a_shape_in_which_nothing_is_drawn_has_its_one_text():
    """Some rows have a text whose every part is fixed."""
    part = Part(MARKS, None, pa.array(["--"]))
    model = TextModel("note", None, {1: [part, part]})
    drawn = Drawn({}, {"note": np.array([1, 0, 1])})
    assert model.make(np.random.default_rng(1), drawn, {}).to_pylist() == ["----", None, "----"]
