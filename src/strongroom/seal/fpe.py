"""Encrypts numbers of a fixed length into numbers of the same length, a column at a time: FF1 (NIST SP 800-38G).

Rules:

1. FF1 with AES as published; nothing is truncated, added or left out. Radix 2 to 65,536, at least a million values
   (SP 800-38G revision 1, second draft), whatever length.
2. One key and tweak for a column: equal values are equal afterwards. It keeps a value's form and nothing else: there is
   no integrity, and any text of the form decrypts to some value.
3. A column is worked on a chunk at a time by compiled kernels, few values in plain Python. Both give the same.
4. Numbers below a size that is no power of a radix are walked: encrypted again until they fall below it (Black and
   Rogaway, Ciphers with Arbitrary Finite Domains, 2002).

It leaves to its callers which key belongs to what, and what the numbers stand for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from strongroom.errors import UsageError
from strongroom.seal import _hazmat
from strongroom.seal._cmac import CHUNK_ROWS

VALUES_MIN = 10**6
RADIX_MAX = 1 << 16
LENGTH_MAX = 4096
TWEAK_BYTES_MAX = 1 << 16
KERNEL_ROWS_MIN = 50_000  # from here on the import of numba (0.5 s, once in a process) is paid back
FEW_ROWS = 4  # so many are quicker one by one when the kernels are there
ROUNDS = 10

_LANES = f"{__package__}._fpe_lanes"
U64 = npt.NDArray[np.uint64]
Numerals = npt.NDArray[Any]


def lanes() -> ModuleType:
    """The compiled kernels; the first call imports numba."""
    return import_module(_LANES)


class Ff1:
    """FF1 under one key and tweak, for numeral strings of one radix and length. Threads may share it.

    Args:
        key: AES key, 16, 24 or 32 B.
        radix: How many numerals there are, 2 to 65,536.
        length: Numerals of each string, 2 to 4,096.
        tweak: Public bytes that tell uses of a key apart, at most 65,536.

    Raises:
        UsageError: A number is out of range, or there are fewer than a million such strings.
    """

    def __init__(self, key: bytes, radix: int, length: int, tweak: bytes = b"") -> None:
        if len(key) not in {16, 24, 32}:
            raise UsageError("a key of FF1 has 16, 24 or 32 bytes")
        if not 2 <= radix <= RADIX_MAX or not 2 <= length <= LENGTH_MAX or len(tweak) > TWEAK_BYTES_MAX:
            raise UsageError(
                f"FF1 takes a radix from 2 to {RADIX_MAX}, {LENGTH_MAX} numerals and a tweak of {TWEAK_BYTES_MAX} bytes"
            )
        if radix**length < VALUES_MIN:
            raise UsageError(
                f"{length} numerals of radix {radix} are fewer than a million values: FF1 would not hide them",
                hint="use a token that keeps no form",
            )
        self.radix, self.length = radix, length
        self._key = key
        self._sizes = radix ** (length // 2), radix ** (length - length // 2)  # of A and of B
        self._bytes = -(-(self._sizes[1] - 1).bit_length() // 8)  # b: bytes of NUM(B)
        self._taken = 4 * -(-self._bytes // 4) + 4  # d: bytes of y
        self._start = self._before(tweak)

    def __repr__(self) -> str:
        return f"<Ff1 radix {self.radix}, {self.length} numerals>"

    def encrypt(self, numerals: Numerals) -> Numerals:
        """Encrypt every row.

        Args:
            numerals: u8[n, length] or u16[n, length], each below the radix.

        Returns:
            The same shape and type.

        Raises:
            UsageError: Shape or type is another, or a numeral is not below the radix.
        """
        return self._strings(numerals, backwards=False)

    def decrypt(self, numerals: Numerals) -> Numerals:
        """What `encrypt` was given."""
        return self._strings(numerals, backwards=True)

    def encrypt_numbers(self, numbers: U64) -> U64:
        """Encrypt numbers whose numerals, of `radix`, the strings are: u64[n], each below radix to the length.

        Raises:
            UsageError: Such numbers do not fit into 64 bits, or one is too large.
        """
        return self._numbers(numbers, backwards=False)

    def decrypt_numbers(self, numbers: U64) -> U64:
        """What `encrypt_numbers` was given."""
        return self._numbers(numbers, backwards=True)

    # -- forms ------------------------------------------------------------------------------------
    def _strings(self, numerals: Numerals, *, backwards: bool) -> Numerals:
        kind = numerals.dtype
        if kind not in {np.dtype(np.uint8), np.dtype(np.uint16)} or numerals.shape != (len(numerals), self.length):
            raise UsageError(f"numerals come as an array u8 or u16 [n, {self.length}]")
        if not len(numerals):
            return numerals.copy()
        if int(numerals.max()) >= self.radix:
            raise UsageError(f"a numeral is not below the radix {self.radix}")
        cut, out = self.length // 2, np.empty_like(numerals, order="C")
        if not self._in_columns(len(numerals)):
            rows = numerals.tolist()
            pairs = ((_number(row[:cut], self.radix), _number(row[cut:], self.radix)) for row in rows)
            for i, (x, y) in enumerate(self._each(pairs, backwards=backwards)):
                out[i] = _numerals(x, self.radix, cut) + _numerals(y, self.radix, self.length - cut)
            return out
        kernels, radix = lanes(), np.uint64(self.radix)
        a, b = np.empty(CHUNK_ROWS, np.uint64), np.empty(CHUNK_ROWS, np.uint64)
        for start in range(0, len(numerals), CHUNK_ROWS):
            chunk, done = numerals[start : start + CHUNK_ROWS], out[start : start + CHUNK_ROWS]
            n = len(chunk)
            kernels.numbers(chunk[:, :cut], radix, a[:n])
            kernels.numbers(chunk[:, cut:], radix, b[:n])
            self._rounds(kernels, a[:n], b[:n], backwards=backwards)
            kernels.numerals(a[:n], radix, done[:, :cut])
            kernels.numerals(b[:n], radix, done[:, cut:])
        return out

    def _numbers(self, numbers: U64, *, backwards: bool) -> U64:
        size, half = self.radix**self.length, self._sizes[1]
        if size > 1 << 64 or numbers.dtype != np.uint64 or numbers.ndim != 1:
            raise UsageError("numbers come as an array u64[n], and strings are at most 2^64")
        if not len(numbers):
            return numbers.copy()
        if int(numbers.max()) >= size:
            raise UsageError("a number is larger than its numerals can write")
        if not self._in_columns(len(numbers)):
            pairs = self._each((divmod(x, half) for x in numbers.tolist()), backwards=backwards)
            return np.fromiter((a * half + b for a, b in pairs), np.uint64, len(numbers))
        kernels, out = lanes(), np.empty_like(numbers)
        for start in range(0, len(numbers), CHUNK_ROWS):
            chunk = numbers[start : start + CHUNK_ROWS]
            a = chunk // np.uint64(half)
            b = chunk - a * np.uint64(half)
            self._rounds(kernels, a, b, backwards=backwards)
            out[start : start + CHUNK_ROWS] = a * np.uint64(half) + b
        return out

    def _in_columns(self, rows: int) -> bool:
        if rows > FEW_ROWS and self._sizes[1] >= 1 << 63:
            raise UsageError(
                f"{self.length} numerals of radix {self.radix} are too long for a column: half of them is over 2^63"
            )
        return rows >= KERNEL_ROWS_MIN or (rows > FEW_ROWS and _LANES in sys.modules)

    # -- FF1, algorithms 7 and 8 --------------------------------------------------------------------
    def _before(self, tweak: bytes) -> bytes:
        """The CBC-MAC over P and the constant blocks of Q, added to the constant part of the last."""
        p = b"".join([
            b"\x01\x02\x01", self.radix.to_bytes(3, "big"), bytes([ROUNDS, (self.length // 2) % 256]),
            self.length.to_bytes(4, "big"), len(tweak).to_bytes(4, "big"),
        ])  # fmt: skip
        q = tweak + bytes((-len(tweak) - self._bytes - 1) % 16) + bytes(1 + self._bytes)
        cut = 16 * ((1 + self._bytes + 15) // 16)  # what a round changes lies in the blocks behind this
        aes, state = _hazmat.AesBlocks(self._key), bytes(16)
        for block in _blocks(p + q[:-cut]):
            state = aes.one(_xor(state, block))
        return _xor(state, q[-cut:][:16]) + q[-cut:][16:]

    def _rounds(self, kernels: ModuleType, a: U64, b: U64, *, backwards: bool) -> None:
        """Ten rounds over halves u64[n] of at most `CHUNK_ROWS` rows, in place: afterwards they are the other's."""
        n = len(a)
        aes = _hazmat.AesBlocks(self._key)
        state = np.empty(2 * n + 2, np.uint64)
        blocks = state.view(np.uint8)[: 16 * n + aes.SLACK]
        high, low = int.from_bytes(self._start[:8], "big"), int.from_bytes(self._start[8:], "big")
        left, right = (b, a) if backwards else (a, b)
        for i in range(ROUNDS - 1, -1, -1) if backwards else range(ROUNDS):
            number = i << 8 * self._bytes  # b is at most 8: the round's number stands before NUM(B)
            kernels.load(right, np.uint64(high ^ number >> 64), np.uint64(low ^ number & 0xFFFFFFFFFFFFFFFF), state)
            aes.forward(blocks, n)
            size = self._sizes[i % 2]
            if self._taken == 8:
                step = kernels.subtract if backwards else kernels.add
                step(state, np.uint64(size), np.uint64((2**64 - 1) // size), left)
            else:
                bits = min(32, 64 - size.bit_length())
                kernels.add_wide(state, np.uint64(size), np.uint64(bits), backwards, left)
            left, right = right, left

    def _each(self, pairs: Iterable[tuple[int, int]], *, backwards: bool) -> Iterator[tuple[int, int]]:
        """FF1 of pairs of halves of any length, one after the other."""
        aes, whole, start = _hazmat.AesBlocks(self._key).one, len(self._start), int.from_bytes(self._start, "big")
        order = range(ROUNDS - 1, -1, -1) if backwards else range(ROUNDS)
        rounds = [(start ^ i << 8 * self._bytes, self._sizes[i % 2]) for i in order]
        short, unused = whole == 16 and self._taken <= 16, 8 * (16 - self._taken)
        for a, b in pairs:
            left, right = (b, a) if backwards else (a, b)
            for constant, size in rounds:
                last = (constant ^ right).to_bytes(whole, "big")
                y = int.from_bytes(aes(last), "big") >> unused if short else self._long(aes, last)
                left, right = right, (left - y if backwards else left + y) % size
            yield (right, left) if backwards else (left, right)

    def _long(self, aes: Callable[[bytes], bytes], last: bytes) -> int:
        """The number y where it, or the part of Q that a round changes, is longer than a block."""
        state = bytes(16)
        for block in _blocks(last):
            state = aes(_xor(state, block))
        more = (aes(_xor(state, j.to_bytes(16, "big"))) for j in range(1, -(-self._taken // 16)))
        return int.from_bytes(b"".join([state, *more])[: self._taken], "big")


class Permutation:
    """FF1 over the numbers from 0 to a size, which need not be a power. Threads may share it.

    They are written in 2 numerals of the least radix that holds them, or 4 where that would be above 65,536.

    Args:
        key: AES key, 32 B.
        size: How many numbers there are, a million to 2^64.
        tweak: Public bytes that tell uses of a key apart.

    Raises:
        UsageError: The size is out of range.
    """

    def __init__(self, key: bytes, size: int, tweak: bytes = b"") -> None:
        if not VALUES_MIN <= size <= 1 << 64:
            raise UsageError("a permutation is of a million to 2^64 numbers")
        radix, length = shape_of(size)
        self.size = size
        self._cipher = Ff1(key, radix, length, tweak)

    def encrypt(self, numbers: U64) -> U64:
        """Encrypt u64[n], each below the size.

        Raises:
            UsageError: One is not.
        """
        return self._walk(numbers, self._cipher.encrypt_numbers)

    def decrypt(self, numbers: U64) -> U64:
        """What `encrypt` was given."""
        return self._walk(numbers, self._cipher.decrypt_numbers)

    def _walk(self, numbers: U64, step: Any) -> U64:
        last = np.uint64(self.size - 1)
        if len(numbers) and numbers.max() > last:
            raise UsageError("a number is not below the size of its permutation")
        out: U64 = step(numbers)
        outside = np.flatnonzero(out > last)
        while outside.size:  # every walk comes back: a permutation's cycle leads to where it began, which is below
            again = step(out[outside])
            out[outside] = again
            outside = outside[again > last]
        return out


def shape_of(size: int) -> tuple[int, int]:
    """Radix and length, 2 or 4, of the shortest numeral strings of which there are `size`."""
    for length in (2, 4):
        radix = round(size ** (1 / length))
        while radix**length < size:
            radix += 1
        while (radix - 1) ** length >= size:
            radix -= 1
        if radix <= RADIX_MAX:
            return radix, length
    raise UsageError("a permutation is of at most 2^64 numbers")


def _number(numerals: list[int], radix: int) -> int:
    value = 0
    for numeral in numerals:
        value = value * radix + numeral
    return value


def _numerals(value: int, radix: int, width: int) -> list[int]:
    out = []
    for _ in range(width):
        value, numeral = divmod(value, radix)
        out.append(numeral)
    return out[::-1]


def _blocks(data: bytes) -> list[bytes]:
    return [data[at : at + 16] for at in range(0, len(data), 16)]


def _xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))
