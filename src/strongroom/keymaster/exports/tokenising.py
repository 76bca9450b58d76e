"""Replaces identifiers of an export by tokens, and tokens by identifiers: equal within the export, unlike in any other.

Rules:

1. Keys are derived (HKDF, RFC 5869) from the export's key, one for each domain of fields and each cipher: no key is
   ever used with AES-SIV and FF1 both, or in two exports.
2. A value that has its field's form (`schema.tokenform`) has a token of that form, by FF1. Any other has a text token,
   by AES-SIV, and comes back all the same. Null stays null.
3. A token stands for the value as its field normalises it: two ways to write a phone number have one token.
4. A text token that does not verify, and what is no token at all, comes back as null and is marked. A token of a form
   has no integrity: any text of the form is a token of something.
5. Slices of `SLICE_ROWS` are worked on one after the other: beside what comes out, memory holds one slice. Compiled
   kernels are loaded once so many values have come that they pay for it.

Who may do either, and the key of an export, is left to others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from strongroom.errors import InputError, UsageError
from strongroom.schema import tokentext
from strongroom.schema.columns import OFFSET_32_MAX, is_text, one_chunk
from strongroom.schema.normalise import normalise
from strongroom.schema.tokenform import Form, Part, TokenField, form_of
from strongroom.schema.tokentext import as_strings, read_tokens, write_tokens
from strongroom.seal import fpe, siv
from strongroom.seal.derive import derive
from strongroom.seal.fpe import Ff1, Permutation
from strongroom.seal.siv import TextSiv

if TYPE_CHECKING:
    import pyarrow as pa

KEY_BYTES = 32
SLICE_ROWS = 65_536
KERNEL_ROWS_MIN = 50_000  # in all columns together: from here on the import of numba (0.5 s) is paid back

_LABEL = b"strongroom token 1"
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _Piece:
    """Strings, and the rows that they belong to."""

    rows: Bool
    texts: pa.Array


class ExportTokens:
    """Tokens of one export. Threads may share it.

    Args:
        key: The export's key, 32 B.

    Raises:
        UsageError: The key has not 32 bytes.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise UsageError("the key of an export's tokens has 32 bytes")
        self._key = key
        self._domains: dict[str, DomainTokens] = {}
        self._rows = 0

    def __repr__(self) -> str:
        return "<ExportTokens>"

    def tokenize(self, field: TokenField, column: pa.Array | pa.ChunkedArray) -> pa.Array:
        """The token of every value.

        Args:
            field: Whose values these are.
            column: Strings in any Arrow layout, or whole numbers.

        Returns:
            Strings of the same length; null where the value is null or is nothing once normalised.

        Raises:
            InputError: The column is of another type or not UTF-8.
        """
        domain = self._ready(field, len(column))
        return _joined([domain.tokenize(part) for part in _slices(column, field)])

    def detokenize(self, field: TokenField, column: pa.Array | pa.ChunkedArray) -> tuple[pa.Array, Bool]:
        """The value, as normalised, behind every token.

        Args:
            field: Whose tokens these are.
            column: Strings in any Arrow layout, or whole numbers.

        Returns:
            Strings of the same length, and bool[n], true where a row is no token of this export: it is null.

        Raises:
            InputError: The column is of another type or not UTF-8.
        """
        domain = self._ready(field, len(column))
        done = [domain.detokenize(part) for part in _slices(column, field)]
        return _joined([texts for texts, _ in done]), np.concatenate([bad for _, bad in done])

    def _ready(self, field: TokenField, rows: int) -> DomainTokens:
        self._rows += rows
        if self._rows >= KERNEL_ROWS_MIN:
            for part in (fpe, siv, tokentext):
                part.lanes()
        return self.of(field)

    def of(self, field: TokenField) -> DomainTokens:
        """The tokens of a field's domain, with their keys."""
        found = self._domains.get(field.domain)
        if found is None:
            found = self._domains[field.domain] = DomainTokens(self._key, field)
        return found


class DomainTokens:
    """Tokens of the fields of one domain in one export.

    Args:
        key: The export's key, 32 B.
        field: One of these fields.
    """

    def __init__(self, key: bytes, field: TokenField) -> None:
        self._key, self._field, self._domain = key, field, field.domain.encode()
        self.form: Form | None = form_of(field.steps)

    def __repr__(self) -> str:
        return f"<DomainTokens {self._field.domain}>"

    @cached_property
    def text(self) -> TextSiv:
        """The cipher of text tokens."""
        return TextSiv(derive(self._key, 64, _LABEL, b"AES-SIV", self._domain), _LABEL + b" " + self._domain)

    @cached_property
    def _form_key(self) -> bytes:
        assert self.form is not None
        return derive(self._key, 32, _LABEL, b"FF1", self.form.name.encode(), self._domain)

    def permute(self, part: Part, *, backwards: bool) -> npt.NDArray[np.generic]:
        """The numbers of a part encrypted, or decrypted."""
        tweak = _LABEL + b" " + self._domain
        width = part.numbers.shape[-1]
        cipher = Permutation(self._form_key, part.size, tweak) if part.size else Ff1(self._form_key, 10, width, tweak)
        return cipher.decrypt(part.numbers) if backwards else cipher.encrypt(part.numbers)

    def tokenize(self, column: pa.Array) -> pa.Array:
        """See `ExportTokens.tokenize`; a slice."""
        values = normalise(column, self._field.steps, name=self._field.name)
        present, values = _present(values)
        pieces, left = self._formed(values, backwards=False)
        if left.any():
            rest = values if left.all() else _filter(values, left)
            pieces.append(_Piece(left, write_tokens(*self.text.seal(rest))))
        return _spread(_placed(pieces, len(values)), present)

    def detokenize(self, column: pa.Array) -> tuple[pa.Array, Bool]:
        """See `ExportTokens.detokenize`; a slice."""
        given = normalise(column, ("trim",), name=self._field.name)
        present, given = _present(given)
        bad = np.zeros(len(column), np.bool_)
        marked, blocks, starts = read_tokens(given)
        pieces, left = [], ~marked
        if marked.any():
            data, offsets, wrong = self.text.open(blocks, starts)
            values = as_strings(data, offsets)
            verified = marked.copy()
            verified[marked] = ~wrong
            left |= marked & ~verified
            pieces.append(_Piece(verified, _filter(values, ~wrong) if wrong.any() else values))
        if self.form is not None and not marked.all():
            others = ~marked
            tokens = normalise(_filter(given, others), self._field.steps, name=self._field.name).fill_null("")
            found, _ = self._formed(tokens, backwards=True)
            for piece in found:
                rows = others.copy()
                rows[others] = piece.rows
                left &= ~rows
                pieces.append(_Piece(rows, piece.texts))
        bad[present] = left
        return _spread(_placed(pieces, len(given)), present), bad

    def _formed(self, texts: pa.Array, *, backwards: bool) -> tuple[list[_Piece], Bool]:
        """What the form does, and the rows that it leaves."""
        left, pieces = np.ones(len(texts), np.bool_), []
        for part in self.form.parts(texts, tokens=backwards) if self.form else ():
            if part.rows.any():
                pieces.append(_Piece(part.rows, part.write(self.permute(part, backwards=backwards))))
                left &= ~part.rows
        return pieces, left


def _slices(column: pa.Array | pa.ChunkedArray, field: TokenField) -> Iterator[pa.Array]:
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_null(column.type):
        column = column.cast(pa.string())
    if not is_text(column.type) and not pa.types.is_integer(column.type):
        raise InputError(f"field {field.name}: there are tokens of text and whole numbers, not of {column.type}")
    for start in range(0, max(len(column), 1), SLICE_ROWS):
        yield one_chunk(column.slice(start, SLICE_ROWS))


def _present(column: pa.Array) -> tuple[Bool, pa.Array]:
    """Which rows are not null, and these rows."""
    if not column.null_count:
        return np.ones(len(column), np.bool_), column
    return np.array(column.is_valid()), column.drop_null()


def _filter(column: pa.Array, rows: Bool) -> pa.Array:
    import pyarrow as pa

    return column.filter(pa.array(rows))


def _placed(pieces: list[_Piece], rows: int) -> pa.Array:
    """One array of all pieces, each string at its row; a row of no piece is null."""
    import pyarrow as pa

    if len(pieces) == 1 and pieces[0].rows.all():
        return pieces[0].texts
    at = np.full(rows, -1, np.int64)
    texts = [piece.texts for piece in pieces] or [pa.array([], pa.string())]
    if len({one.type for one in texts}) > 1:
        texts = [one.cast(pa.large_string()) for one in texts]
    before = 0
    for piece in pieces:
        at[piece.rows] = np.arange(before, before + len(piece.texts))
        before += len(piece.texts)
    return pa.concat_arrays(texts).take(pa.array(at, mask=at < 0))


def _spread(texts: pa.Array, present: Bool) -> pa.Array:
    """The strings at the rows that are present, null elsewhere."""
    import pyarrow as pa

    if present.all():
        return texts
    return texts.take(pa.array(np.cumsum(present) - 1, mask=~present))


def _joined(slices: list[pa.Array]) -> pa.Array:
    import pyarrow as pa

    if len(slices) == 1:
        return slices[0]
    if sum(part.nbytes for part in slices) > OFFSET_32_MAX:
        slices = [part.cast(pa.large_string()) for part in slices]
    return pa.concat_arrays([part.cast(slices[0].type) for part in slices])
