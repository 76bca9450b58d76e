"""What a hostile server could answer: values of a call's types, of whatever size, and bytes that are none."""

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st
from msgspec import inspect

NUMBERS = st.one_of(st.integers(0, 3), st.sampled_from((-1, 1 << 31, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, -(1 << 63))))
TEXTS = st.one_of(st.sampled_from(("", "persons", "a\r\nb", "0" * 40, "{}", "[]", "null", "号\ud7ff")), st.text(max_size=8))
BYTES = st.one_of(st.sampled_from((b"", bytes(16), bytes(32), bytes(8))), st.binary(max_size=40))
ANY = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.floats(), TEXTS, BYTES),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)
SHAPES = st.one_of(
    st.sampled_from(((0, 16), (1, 16), (2, 16), (1, 32), (2, 32), (0,), (1,), (2,), (3,), (1, 44), (2, 44), (4, 4))),
    st.lists(NUMBERS, max_size=3).map(tuple),
)
KINDS = ("|u1", "<u4", "<u8", "|b1", "<i8", "<f8")
NAMES = (*KINDS, "<f4", "(", "|O")


@st.composite
def arrays(draw):
    """An array as it goes over the wire, mostly one that can be read."""
    name, shape = draw(st.sampled_from(NAMES)), draw(SHAPES)
    good = name in KINDS and all(0 <= n < 100 for n in shape)
    size = int(np.prod(shape)) * np.dtype(name).itemsize if good else draw(st.integers(0, 64))
    return (name, shape, bytes([draw(st.sampled_from((0, 1, 255)))]) * size)


def values_of(kind):
    """Values of a type as msgspec sees it, as plain Python values that encode like it."""
    return _of(inspect.type_info(kind))


def _of(info):
    if isinstance(info, inspect.CustomType):
        return columns() if info.cls is pa.Array else arrays()
    if isinstance(info, inspect.AnyType):
        return ANY
    if isinstance(info, inspect.BoolType):
        return st.booleans()
    if isinstance(info, inspect.IntType):
        return NUMBERS
    if isinstance(info, inspect.FloatType):
        return st.one_of(st.floats(), NUMBERS)
    if isinstance(info, inspect.StrType):
        return TEXTS
    if isinstance(info, inspect.BytesType):
        return BYTES
    if isinstance(info, inspect.NoneType):
        return st.none()
    if isinstance(info, inspect.UnionType):
        return st.one_of([_of(one) for one in info.types])
    if isinstance(info, inspect.TupleType):
        return st.tuples(*[_of(one) for one in info.item_types])
    if isinstance(info, inspect.ListType | inspect.VarTupleType):
        return st.lists(_of(info.item_type), max_size=3)
    if isinstance(info, inspect.DictType):
        return st.dictionaries(_of(info.key_type), _of(info.value_type), max_size=3)
    if isinstance(info, inspect.LiteralType):
        return st.sampled_from(info.values)
    if isinstance(info, inspect.DataclassType | inspect.StructType):
        return st.fixed_dictionaries({one.encode_name: _of(one.type) for one in info.fields})
    raise AssertionError(f"{info} is not drawn yet")


def columns():
    """A column as Arrow IPC, or not."""
    return st.one_of(BYTES, st.sampled_from((pa.array(["a", "b"]), pa.array([1]), pa.array([], pa.null()))))
