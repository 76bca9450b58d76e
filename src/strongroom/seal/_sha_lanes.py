"""SHA-256 (FIPS 180-4) of many short messages: sixteen at a time, each in its lane of LLVM vectors.

Rules:

1. Lane i of every vector is message i of a group of sixteen; messages are taken in the order of their blocks, so that
   neighbours end together. A lane that has ended goes on with whatever its block holds, and is not read any more.
2. Everything runs without the interpreter's lock, on arrays that `sha` made and checked.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit
from numba.core import cgutils

from strongroom.seal._lane_code import LANES, Lanes, stage, transpose
from strongroom.seal._run_lanes import copy_bytes

STATE = 0  # 8 words x 16 lanes u32
BLOCK = STATE + 64  # 16 rows x 64 B: a block of each message
WORK = BLOCK + 128

FIRST = (
    0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19,
)  # fmt: skip
ROUNDS = (
    0x428A2F98, 0x71374491, 0xB5C0FBCF, 0xE9B5DBA5, 0x3956C25B, 0x59F111F1, 0x923F82A4, 0xAB1C5ED5,
    0xD807AA98, 0x12835B01, 0x243185BE, 0x550C7DC3, 0x72BE5D74, 0x80DEB1FE, 0x9BDC06A7, 0xC19BF174,
    0xE49B69C1, 0xEFBE4786, 0x0FC19DC6, 0x240CA1CC, 0x2DE92C6F, 0x4A7484AA, 0x5CB0A9DC, 0x76F988DA,
    0x983E5152, 0xA831C66D, 0xB00327C8, 0xBF597FC7, 0xC6E00BF3, 0xD5A79147, 0x06CA6351, 0x14292967,
    0x27B70A85, 0x2E1B2138, 0x4D2C6DFC, 0x53380D13, 0x650A7354, 0x766A0ABB, 0x81C2C92E, 0x92722C85,
    0xA2BFE8A1, 0xA81A664B, 0xC24B8B70, 0xC76C51A3, 0xD192E819, 0xD6990624, 0xF40E3585, 0x106AA070,
    0x19A4C116, 0x1E376C08, 0x2748774C, 0x34B0BCB5, 0x391C0CB3, 0x4ED8AA4A, 0x5B9CCA4F, 0x682E6FF3,
    0x748F82EE, 0x78A5636F, 0x84C87814, 0x8CC70208, 0x90BEFFFA, 0xA4506CEB, 0xBEF9A3F7, 0xC67178F2,
)  # fmt: skip


def _turned(x, *bits):
    """The exclusive or of a word turned right by some bits."""
    first, *others = (x.rotl(32 - bit) for bit in bits)
    for other in others:
        first ^= other
    return first


def _swapped(vector):
    """Words with their bytes the other way round."""
    kind = vector.value.type
    name = f"llvm.bswap.v{kind.count}i32"
    swap = cgutils.get_or_insert_function(vector.builder.module, ir.FunctionType(kind, [kind]), name)
    return Lanes(vector.builder, vector.builder.call(swap, [vector.value]))


@stage
def compress(memory):
    """Take one block of each message into its state (FIPS 180-4, 6.2.2)."""
    w = [_swapped(row) for row in transpose([memory.load(32, LANES, BLOCK, 64 * i) for i in range(LANES)])]
    for t in range(16, 64):
        small = _turned(w[t - 15], 7, 18) ^ (w[t - 15] >> 3)
        large = _turned(w[t - 2], 17, 19) ^ (w[t - 2] >> 10)
        w.append(w[t - 16] + small + w[t - 7] + large)
    before = [memory.load(32, LANES, STATE, 64 * i) for i in range(8)]
    a, b, c, d, e, f, g, h = before
    for t in range(64):
        one = h + _turned(e, 6, 11, 25) + (g ^ (e & (f ^ g))) + w[t] + ROUNDS[t]
        two = _turned(a, 2, 13, 22) + ((a & b) | (c & (a | b)))
        a, b, c, d, e, f, g, h = one + two, a, b, c, d + one, e, f, g
    for i, word in enumerate((a, b, c, d, e, f, g, h)):
        memory.store(word + before[i], STATE, 64 * i)


_START = np.repeat(np.array(FIRST, np.uint32), LANES)


@njit(cache=True, nogil=True)
def digest(prefix, data, offsets, order, blocks, room, work, out):
    """Digest messages: a byte before each, its bytes in data; `order` is by the number of their `blocks`.

    `room` has 16 times 64 bytes for each block of the longest message; `out` is u8[n, 32].
    """
    words, rows = work.view(np.uint32), work.view(np.uint8)
    width = room.shape[0] // LANES
    source, target, place = data.ctypes.data, room.ctypes.data, work.ctypes.data + 8 * BLOCK
    for start in range(0, order.shape[0], LANES):
        lanes = min(LANES, order.shape[0] - start)
        words[2 * STATE : 2 * STATE + 8 * LANES] = _START
        for lane in range(lanes):
            row = order[start + lane]
            size = offsets[row + 1] - offsets[row]
            first, end = lane * width, lane * width + 64 * blocks[row]
            room[first] = prefix
            copy_bytes(target + first + 1, source + offsets[row], size)
            room[first + 1 + size] = 0x80
            room[first + 2 + size : end - 8] = 0
            bits = np.uint64(8 * (size + 1))
            for i in range(8):
                room[end - 1 - i] = np.uint8((bits >> np.uint64(8 * i)) & np.uint64(255))
        for step in range(blocks[order[start + lanes - 1]]):
            for lane in range(lanes):
                if step < blocks[order[start + lane]]:
                    copy_bytes(place + 64 * lane, target + lane * width + 64 * step, 64)
            compress(work)
            for lane in range(lanes):
                row = order[start + lane]
                if blocks[row] == step + 1:
                    for i in range(8):
                        at = 4 * (2 * STATE + LANES * i + lane)
                        for byte in range(4):
                            out[row, 4 * i + byte] = rows[at + 3 - byte]
