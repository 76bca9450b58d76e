"""Kernels that copy entries by their addresses: straight from where a batch left them into the blocks of a run.

Rules:

1. Addresses and lengths come from `scatter`, which has checked that each entry lies inside an array it keeps alive.
2. Everything runs without the interpreter's lock, and writes nothing beyond the sizes that `cut` gave.

numba's cache on disk knows only this file: the intrinsics are here, beside the kernels that use them.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,call-arg"

from __future__ import annotations

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

_BYTE = ir.IntType(8).as_pointer()
_AHEAD = 8  # entries between asking for memory and copying it


@intrinsic
def copy_bytes(typing, target, source, size):  # noqa: ARG001 - numba asks for these names
    """Copy `size` bytes between two addresses that do not overlap."""

    def emit(context, builder, signature, arguments):  # noqa: ARG001
        to, from_, count = arguments
        cgutils.raw_memcpy(builder, builder.inttoptr(to, _BYTE), builder.inttoptr(from_, _BYTE), count, 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), emit


@intrinsic
def fetch_ahead(typing, address):  # noqa: ARG001
    """Ask for the memory at an address; an address that is none does no harm."""

    def emit(context, builder, signature, arguments):  # noqa: ARG001
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [_BYTE, number, number, number])
        call = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(call, [builder.inttoptr(arguments[0], _BYTE), number(0), number(1), number(1)])
        return context.get_dummy_value()

    return types.void(types.int64), emit


@njit(cache=True, nogil=True)
def take(starts, lengths, order, out):
    """Copy the entries at `order` to `out`, one behind the other."""
    at = out.ctypes.data
    n = order.shape[0]
    for i in range(n):
        if i + _AHEAD < n:
            ahead = starts[order[i + _AHEAD]]
            for line in range(4):
                fetch_ahead(ahead + 64 * line)
        entry = order[i]
        copy_bytes(at, starts[entry], lengths[entry])
        at += lengths[entry]


@njit(cache=True, nogil=True)
def cut(lengths, order, start, limit, overhead, room, ends, sizes, widths):
    """Find the full blocks from place `start` of the order, as many as fit into `room` bytes, at least one.

    Fills in where each ends, its plain bytes and the width of its lengths; returns their number. Entries behind the
    last full block are left to the caller.
    """
    count = 0
    used = 0
    first = start
    cost = 0
    shortest = np.int64(1) << 62
    longest = np.int64(0)
    n = order.shape[0]
    i = start
    while i < n and count < ends.shape[0]:
        length = lengths[order[i]]
        if i > first and cost + length + overhead > limit:
            entries = i - first
            width = 0 if shortest == longest else (2 if longest < 65536 else 4)
            size = cost - overhead * entries + 8 + 16 * entries + (width * entries if width else 4)
            if count and used + size > room:
                return count
            ends[count] = i
            sizes[count] = size
            widths[count] = width
            used += size
            count += 1
            first = i
            cost = 0
            shortest = np.int64(1) << 62
            longest = np.int64(0)
            continue
        cost += length + overhead
        shortest = min(shortest, length)
        longest = max(longest, length)
        i += 1
    return count


@njit(cache=True, nogil=True)
def pack(tokens, starts, lengths, order, start, ends, sizes, widths, count, out):
    """Write `count` blocks as `run.pack_block` does, one behind the other.

    Returns how many tokens differ from the one before (the first always does), or -1 if they are not sorted.
    """
    changes = 0
    base = 0
    address = out.ctypes.data
    where = tokens.ctypes.data
    n = order.shape[0]
    for block in range(count):
        end = ends[block]
        entries = end - start
        width = widths[block]
        for k in range(8):
            out[base + k] = 0
        for k in range(4):
            out[base + k] = (entries >> (8 * k)) & 0xFF
        out[base + 4] = width
        token_at = base + 8
        length_at = token_at + 16 * entries
        payload_at = length_at + (width * entries if width else 4)
        if not width:
            for k in range(4):
                out[length_at + k] = (lengths[order[start]] >> (8 * k)) & 0xFF
        for i in range(start, end):
            entry = order[i]
            length = lengths[entry]
            copy_bytes(address + token_at, where + 16 * entry, 16)
            for k in range(width):
                out[length_at + k] = (length >> (8 * k)) & 0xFF
            copy_bytes(address + payload_at, starts[entry], length)
            token_at += 16
            length_at += width
            payload_at += length
            if i + _AHEAD < n:
                ahead = order[i + _AHEAD]
                fetch_ahead(where + 16 * ahead)
                for line in range(5):
                    fetch_ahead(starts[ahead] + 64 * line)
        # Sortedness and persons: by the tokens just copied, and the one before this block.
        for i in range(start, end):
            state = 1
            here = base + 8 + 16 * (i - start)
            if i > start:
                state = 0
                for k in range(16):
                    if out[here + k] != out[here - 16 + k]:
                        state = 1 if out[here + k] > out[here - 16 + k] else -1
                        break
            elif i > 0:
                before = order[i - 1]
                state = 0
                for k in range(16):
                    if out[here + k] != tokens[before, k]:
                        state = 1 if out[here + k] > tokens[before, k] else -1
                        break
            if state < 0:
                return -1
            changes += state
        base += sizes[block]
        start = end
    return changes
