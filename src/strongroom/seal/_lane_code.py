"""Emits ChaCha20 and Poly1305 (RFC 8439) for sixteen rows at once, as LLVM vector instructions.

Rules:

1. Lane i of every vector belongs to row i of a group of sixteen, each with its own key, nonce and length. No lane
   ever meets another one: the arithmetic is that of the RFC, written once.
2. Nothing here branches on, or indexes by, a key, a plain byte or a tag.

How it is made: ordinary Python runs while numba compiles a kernel. `Lanes` stands for a vector, and its operators
emit instructions, because whether a compiler finds such vectors by itself changes with its version. LLVM fits the
vectors to the machine: one AVX-512 register, two of AVX2, four of NEON or SSE2. All vectors lie in one workspace
of u64, at the sections named below; the loops over rows that use it are in `_chacha_lanes`.

numba's cache on disk knows only the file of the kernels: who changes this file clears `__pycache__`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16

# The workspace, u64: sections of vectors in memory, by the index of their first element.
STATE = 0  # 16 words x 16 lanes u32: the ChaCha20 state
TEXT = STATE + 128  # 16 rows x 64 B: what a block came out as
WORDS = TEXT + 128  # 16 words x 16 lanes u32: the ciphertext of a block
TAIL = WORDS + 128  # 16 rows x 64 B: copies of rows at the end of the data
MASKS = TAIL + 128  # 64 B of ones, 64 B of zeros
MODE = MASKS + 16  # 64 B of ones to seal, of zeros to open
H = MODE + 8  # 5 limbs x 16 lanes u64: the Poly1305 accumulator
R = H + 80  # 5 limbs x 16 lanes u64: the clamped key r
R5 = R + 80  # 5 limbs x 16 lanes u64: 5 r (the first is not used)
PAD = R5 + 80  # 4 words x 16 lanes u32: the key s
SOURCE = PAD + 32  # 16 addresses of what is read next
LEFT = SOURCE + 16  # 16 counts of bytes used of it, 0 to 64
SIZE = LEFT + 16  # 16 lengths of the rows' text
COMMON = SIZE + 16  # 4 u32: a block that is the same for all rows (2 elements), length of the associated data
STEP = COMMON + 4  # which 16 B of a block
KEYROW = COMMON + 8  # 16 addresses of keys
TAGS = KEYROW + 16  # 16 rows x 16 B
WORK = TAGS + 32

CONSTANTS = (0x61707865, 0x3320646E, 0x79622D32, 0x6B206574)  # "expand 32-byte k"
_QUARTERS = (
    *((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)),
    *((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)),
)
_M26 = (1 << 26) - 1
_M32 = (1 << 32) - 1


class Lanes:
    """A vector while code is emitted: an operator emits one instruction; an int stands for itself in all lanes."""

    def __init__(self, builder: ir.IRBuilder, value: ir.Value) -> None:
        self.builder = builder
        self.value = value

    def _emit(self, name: str, other: Lanes | int) -> Lanes:
        kind = self.value.type
        right = ir.Constant(kind, [other] * kind.count) if isinstance(other, int) else other.value
        return Lanes(self.builder, getattr(self.builder, name)(self.value, right))

    def __add__(self, other: Lanes | int) -> Lanes:
        return self._emit("add", other)

    def __sub__(self, other: Lanes | int) -> Lanes:
        return self._emit("sub", other)

    def __xor__(self, other: Lanes | int) -> Lanes:
        return self._emit("xor", other)

    def __and__(self, other: Lanes | int) -> Lanes:
        return self._emit("and_", other)

    def __or__(self, other: Lanes | int) -> Lanes:
        return self._emit("or_", other)

    def __lshift__(self, bits: int) -> Lanes:
        return self._emit("shl", bits)

    def __rshift__(self, bits: int) -> Lanes:
        return self._emit("lshr", bits)

    def __mul__(self, other: Lanes) -> Lanes:
        """Multiply the low 32 bits of 64-bit lanes, for which machines have an instruction of their own."""
        return (self.fenced() & _M32)._emit("mul", other.fenced() & _M32)

    def fenced(self) -> Lanes:
        """The same vector, of which LLVM forgets what it knows.

        It would prove that the mask before a multiplication does nothing, drop it, and later not know any more
        that the fast instruction will do. The fence emits nothing; there is one for floats only.
        """
        kind = self.value.type
        floats = ir.VectorType(ir.DoubleType(), kind.count)
        name = f"llvm.arithmetic.fence.v{kind.count}f64"
        kinds = ir.FunctionType(floats, [floats])
        fence = cgutils.get_or_insert_function(self.builder.module, kinds, name)
        value = self.builder.call(fence, [self.builder.bitcast(self.value, floats)])
        return Lanes(self.builder, self.builder.bitcast(value, kind))

    def rotl(self, bits: int) -> Lanes:
        return (self << bits) | (self >> (32 - bits))

    def pick(self, other: Lanes, indexes: Sequence[int]) -> Lanes:
        """Lanes of this vector (0, 1, ...) and the other (behind them), in the order asked for."""
        mask = ir.Constant(ir.VectorType(ir.IntType(32), len(indexes)), list(indexes))
        return Lanes(self.builder, self.builder.shuffle_vector(self.value, other.value, mask))

    def halves_u64(self) -> tuple[Lanes, Lanes]:
        """u32 x 16 as two u64 x 8."""
        wide = ir.VectorType(ir.IntType(64), 8)
        low, high = (self.pick(self, range(at, at + 8)) for at in (0, 8))
        return tuple(Lanes(self.builder, self.builder.zext(v.value, wide)) for v in (low, high))  # type: ignore[return-value]

    def where_above(self, limit: Lanes, new: Lanes, old: Lanes) -> Lanes:
        """In each lane `new` if this vector is above the limit there, else `old`."""
        flag = self.builder.icmp_unsigned(">", self.value, limit.value)
        return Lanes(self.builder, self.builder.select(flag, new.value, old.value))


class Memory:
    """The workspace while code is emitted: loads and stores vectors at its sections (index in u64, step in bytes)."""

    def __init__(self, builder: ir.IRBuilder, base: ir.Value) -> None:
        self.builder = builder
        self.base = builder.bitcast(base, ir.IntType(8).as_pointer())

    def _pointer(self, kind: ir.Type, at: int, step: int) -> ir.Value:
        place = self.builder.gep(self.base, [ir.Constant(ir.IntType(64), 8 * at + step)])
        return self.builder.bitcast(place, kind.as_pointer())

    def address(self, at: int) -> ir.Value:
        return self.builder.ptrtoint(self._pointer(ir.IntType(8), at, 0), ir.IntType(64))

    def load(self, bits: int, count: int, at: int, step: int = 0) -> Lanes:
        kind = ir.VectorType(ir.IntType(bits), count)
        return Lanes(self.builder, self.builder.load(self._pointer(kind, at, step), align=64))

    def store(self, vector: Lanes, at: int, step: int = 0) -> None:
        self.builder.store(vector.value, self._pointer(vector.value.type, at, step), align=64)

    def scalar(self, bits: int, at: int, step: int = 0) -> ir.Value:
        return self.builder.load(self._pointer(ir.IntType(bits), at, step))

    def splat(self, bits: int, at: int, step: int = 0) -> Lanes:
        """One u32 or u64 of the workspace in all of eight u64 lanes."""
        value = self.scalar(bits, at, step)
        scalar = self.builder.zext(value, ir.IntType(64)) if bits < 64 else value
        one = self.builder.insert_element(
            ir.Constant(ir.VectorType(ir.IntType(64), 8), ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0)
        )
        return Lanes(self.builder, one).pick(Lanes(self.builder, one), [0] * 8)

    def far(self, count: int, address: ir.Value) -> Lanes:
        """u32 x count from any address, aligned or not."""
        kind = ir.VectorType(ir.IntType(32), count)
        return Lanes(self.builder, self.builder.load(self.builder.inttoptr(address, kind.as_pointer()), align=1))


def stage(emit: Callable[[Memory], None]) -> Any:
    """Make a function of the workspace, callable in kernels, of what `emit` emits."""

    @intrinsic
    def staged(typing_context: Any, work: Any) -> Any:  # noqa: ARG001
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            array = context.make_array(signature.args[0])(context, builder, arguments[0])
            emit(Memory(builder, array.data))
            return context.get_dummy_value()

        return types.void(work), codegen

    return staged


def transpose(rows: list[Lanes]) -> list[Lanes]:
    """Turn sixteen vectors of sixteen lanes about the diagonal: swap blocks of 1, 2, 4, 8 lanes."""
    rows = list(rows)
    for s in (1, 2, 4, 8):
        for i in range(LANES):
            if not i & s:
                a, b = rows[i], rows[i + s]
                rows[i] = a.pick(b, [e if not e & s else LANES + e - s for e in range(LANES)])
                rows[i + s] = a.pick(b, [e + s if not e & s else LANES + e for e in range(LANES)])
    return rows


def _rounds(memory: Memory) -> tuple[list[Lanes], list[Lanes]]:
    """The twenty rounds of RFC 8439 section 2.3: words before and after them."""
    start = [memory.load(32, LANES, STATE, 64 * w) for w in range(16)]
    x = list(start)
    for _ in range(10):
        for a, b, c, d in _QUARTERS:
            x[a] += x[b]
            x[d] = (x[d] ^ x[a]).rotl(16)
            x[c] += x[d]
            x[b] = (x[b] ^ x[c]).rotl(12)
            x[a] += x[b]
            x[d] = (x[d] ^ x[a]).rotl(8)
            x[c] += x[d]
            x[b] = (x[b] ^ x[c]).rotl(7)
    return start, x


def _stream(memory: Memory) -> list[Lanes]:
    return [a + b for a, b in zip(*_rounds(memory), strict=True)]


@stage
def load_keys(memory: Memory) -> None:
    """Bring the sixteen keys at the addresses of KEYROW into words 4 to 11 of the state."""
    rows = [memory.far(8, memory.scalar(64, KEYROW, 8 * i)) for i in range(LANES)]
    wide = transpose([row.pick(row, [*range(8), *range(8)]) for row in rows])
    for w in range(8):
        memory.store(wide[w], STATE, 64 * (4 + w))


@stage
def next_key(memory: Memory) -> None:
    """HChaCha20: words 0-3 and 12-15 after the rounds become words 4 to 11, the key of what follows."""
    _, x = _rounds(memory)
    for w, word in enumerate(x[:4] + x[12:]):
        memory.store(word, STATE, 64 * (4 + w))


@stage
def key_rows(memory: Memory) -> None:
    """Write words 4 to 11 of the state as sixteen rows of 32 B, 64 B apart, to TEXT."""
    words = [memory.load(32, LANES, STATE, 64 * (4 + w)) for w in range(8)]
    for i, row in enumerate(transpose(words + words)):
        memory.store(row, TEXT, 64 * i)


@stage
def poly_begin(memory: Memory) -> None:
    """Make the one-time keys from block 0 (RFC 8439 section 2.6): r clamped in limbs of 26 bits, s kept, h zero."""
    words = _stream(memory)
    for i in range(4):
        memory.store(words[4 + i], PAD, 64 * i)
    w = [words[i].halves_u64() for i in range(4)]
    for half in (0, 1):
        w0, w1, w2, w3 = (w[i][half] for i in range(4))
        limbs = (
            w0 & 0x3FFFFFF,
            ((w0 >> 26) | (w1 << 6)) & 0x3FFFF03,
            ((w1 >> 20) | (w2 << 12)) & 0x3FFC0FF,
            ((w2 >> 14) | (w3 << 18)) & 0x3F03FFF,
            (w3 >> 8) & 0x00FFFFF,
        )
        for i, limb in enumerate(limbs):
            for value, section in ((limb, R), ((limb << 2) + limb, R5), (limb ^ limb, H)):
                memory.store(value, section, 128 * i + 64 * half)


def _load_h(memory: Memory, half: int) -> list[Lanes]:
    return [memory.load(64, 8, H, 128 * i + 64 * half) for i in range(5)]


def _store_h(memory: Memory, half: int, h: list[Lanes]) -> None:
    for i, limb in enumerate(h):
        memory.store(limb, H, 128 * i + 64 * half)


def _poly_step(memory: Memory, half: int, h: list[Lanes], m: list[Lanes]) -> list[Lanes]:
    """The sum h after a block of four words m: (h + m) r mod 2^130 - 5, partly reduced (RFC 8439 section 2.5)."""
    r = [memory.load(64, 8, R, 128 * i + 64 * half) for i in range(5)]
    r5 = [memory.load(64, 8, R5, 128 * i + 64 * half) for i in range(5)]
    a = [
        h[0] + (m[0] & _M26),
        h[1] + (((m[0] >> 26) | (m[1] << 6)) & _M26),
        h[2] + (((m[1] >> 20) | (m[2] << 12)) & _M26),
        h[3] + (((m[2] >> 14) | (m[3] << 18)) & _M26),
        h[4] + ((m[3] >> 8) | (1 << 24)),
    ]
    d = []
    for k in range(5):
        terms = [a[i] * (r[k - i] if i <= k else r5[5 + k - i]) for i in range(5)]
        d.append(((terms[0] + terms[1]) + (terms[2] + terms[3])) + terms[4])
    # Two carry chains side by side (0-1-2-3-4 and 3-4-0-1): limbs end below 2^27, as the next product needs.
    d[1], d[0] = d[1] + (d[0] >> 26), d[0] & _M26
    d[4], d[3] = d[4] + (d[3] >> 26), d[3] & _M26
    d[2], d[1] = d[2] + (d[1] >> 26), d[1] & _M26
    over, d[4] = d[4] >> 26, d[4] & _M26
    d[0] += (over << 2) + over
    d[3], d[2] = d[3] + (d[2] >> 26), d[2] & _M26
    d[1], d[0] = d[1] + (d[0] >> 26), d[0] & _M26
    d[4], d[3] = d[4] + (d[3] >> 26), d[3] & _M26
    return d


@stage
def crypt(memory: Memory) -> None:
    """One block of 64 B for sixteen rows: key stream and xor; the ciphertext as words to WORDS.

    The ciphertext is what comes out when sealing (MODE is ones) and what comes in when opening (MODE is zeros).
    """
    b = memory.builder
    stream = transpose(_stream(memory))
    ones = memory.address(MASKS + 8)
    mode = memory.load(32, LANES, MODE)
    sealed = []
    for i in range(LANES):
        source = memory.far(LANES, memory.scalar(64, SOURCE, 8 * i))
        keep = memory.far(LANES, b.sub(ones, memory.scalar(64, LEFT, 8 * i)))
        text = source ^ stream[i]
        memory.store(text, TEXT, 64 * i)
        sealed.append((source ^ (stream[i] & mode)) & keep)
    for w, word in enumerate(transpose(sealed)):
        memory.store(word, WORDS, 64 * w)


@stage
def absorb_rows(memory: Memory) -> None:
    """Piece STEP (0 to 3) of 16 B of the block in WORDS into Poly1305; rows that ended before it keep their sum."""
    b = memory.builder
    step = memory.scalar(64, STEP)
    first = b.add(memory.address(WORDS), b.mul(step, ir.Constant(ir.IntType(64), 256)))
    m = [memory.far(LANES, b.add(first, ir.Constant(ir.IntType(64), 64 * i))).halves_u64() for i in range(4)]
    limit = memory.splat(64, STEP) << 4
    for half in (0, 1):
        old = _load_h(memory, half)
        new = _poly_step(memory, half, old, [word[half] for word in m])
        left = memory.load(64, 8, LEFT, 64 * half)
        _store_h(memory, half, [left.where_above(limit, n, o) for n, o in zip(new, old, strict=True)])


@stage
def absorb_common(memory: Memory) -> None:
    """A block that is the same for all rows (the associated data) into Poly1305."""
    m = [memory.splat(32, COMMON, 4 * i) for i in range(4)]
    for half in (0, 1):
        _store_h(memory, half, _poly_step(memory, half, _load_h(memory, half), m))


@stage
def poly_end(memory: Memory) -> None:
    """The block of lengths, the final reduction, and the tags as rows of 16 B to TAGS (RFC 8439 section 2.8)."""
    common = memory.splat(64, COMMON, 16)
    tags: list[list[Lanes]] = []
    for half in (0, 1):
        size = memory.load(64, 8, SIZE, 64 * half)
        h = _poly_step(memory, half, _load_h(memory, half), [common & _M32, common >> 32, size & _M32, size >> 32])
        for i in (1, 2, 3, 4, 0, 1):
            carry, h[i] = h[i] >> 26, h[i] & _M26
            after = (i + 1) % 5
            h[after] += (carry << 2) + carry if i == 4 else carry
        g, carry = [], h[0] ^ h[0]
        for i in range(5):
            limb = h[i] + (carry if i else 5)
            carry = limb >> 26
            g.append(limb & _M26)
        # carry is 1 exactly where h >= 2^130 - 5: take h - p there, by masks and not by a branch.
        take = (carry ^ carry) - carry
        h = [(x & (take ^ ((1 << 64) - 1))) | (y & take) for x, y in zip(h, g, strict=True)]
        f = [h[0] | (h[1] << 26), (h[1] >> 6) | (h[2] << 20), (h[2] >> 12) | (h[3] << 14), (h[3] >> 18) | (h[4] << 8)]
        pad = [memory.load(32, LANES, PAD, 64 * i).halves_u64()[half] for i in range(4)]
        out, carry = [], h[0] ^ h[0]
        for word, s in zip(f, pad, strict=True):
            total = (word & _M32) + s + carry
            out.append(total & _M32)
            carry = total >> 32
        tags.append([out[0] | (out[1] << 32), out[2] | (out[3] << 32)])
    for half, (low, high) in enumerate(tags):
        for at in (0, 1):
            rows = low.pick(high, [e for i in range(4 * at, 4 * at + 4) for e in (i, 8 + i)])
            memory.store(rows, TAGS, 128 * half + 64 * at)


def _copier(size: int) -> Any:
    """Make a function that copies `size` bytes to one address from another, callable in kernels."""

    @intrinsic
    def copy(typing_context: Any, to: Any, source: Any) -> Any:  # noqa: ARG001
        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
            kind = ir.VectorType(ir.IntType(8), size).as_pointer()
            value = builder.load(builder.inttoptr(arguments[1], kind), align=1)
            builder.store(value, builder.inttoptr(arguments[0], kind), align=1)
            return context.get_dummy_value()

        return types.void(types.uint64, types.uint64), codegen

    return copy


copy16, copy32 = _copier(16), _copier(32)


@intrinsic
def fetch8(typing_context: Any, source: Any) -> Any:  # noqa: ARG001
    """Read a u64 from an address, aligned or not, callable in kernels."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return builder.load(builder.inttoptr(arguments[0], ir.IntType(64).as_pointer()), align=1)

    return types.uint64(types.uint64), codegen
