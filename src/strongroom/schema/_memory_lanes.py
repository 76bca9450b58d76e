# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc"
"""Memory by address for the compiled loops: unaligned loads and stores, and the copying of short texts.

Whoever calls vouches for the addresses, keeps what is read alive, and leaves SLACK_BYTES behind what is written.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic

SLACK_BYTES = 16
STRING, WHOLE, TIME, BITS, FLOAT, BYTES = 0, 1, 2, 3, 4, 5
"""What a field holds, as the loops know it."""

_U8 = np.uint64(8)


def _loader(bits: int, numba_type: Any) -> Any:
    @intrinsic
    def load(typingctx: Any, address: Any) -> Any:  # noqa: ARG001
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
            # Unaligned on purpose: the bytes of an Arrow string begin anywhere.
            return builder.load(builder.inttoptr(args[0], ir.IntType(bits).as_pointer()), align=1)

        return numba_type(types.int64), codegen

    return load


def _storer(bits: int, numba_type: Any) -> Any:
    @intrinsic
    def store(typingctx: Any, address: Any, value: Any) -> Any:  # noqa: ARG001
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
            # Callers leave SLACK_BYTES behind what they write, so that a word may reach over the end.
            builder.store(args[1], builder.inttoptr(args[0], ir.IntType(bits).as_pointer()), align=1)
            return context.get_dummy_value()

        return types.void(types.int64, numba_type), codegen

    return store


# Arrays are not passed to the inner functions: counting references to them costs more than the work.
load8 = _loader(8, types.uint8)
load16 = _loader(16, types.uint16)
load32 = _loader(32, types.int32)
load64 = _loader(64, types.uint64)
store8 = _storer(8, types.uint8)
store16 = _storer(16, types.uint16)
store64 = _storer(64, types.uint64)


@njit(cache=True, nogil=True)
def copy(out_address, source, length):
    i = 0
    while i + 8 <= length:
        store64(out_address + i, load64(source + i))
        i += 8
    if i < length:
        if length >= 8:
            store64(out_address + length - 8, load64(source + length - 8))
        else:
            word, shift = np.uint64(0), np.uint64(0)
            for j in range(i, length):
                word |= np.uint64(load8(source + j)) << shift
                shift += _U8
            store64(out_address, word)
