"""Chooses the reader for a file by its first bytes, and reads it to its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from strongroom.errors import InputError
from strongroom.trace.leak.base import BLOCK_BYTES, Piece, Rows, text_piece
from strongroom.trace.leak.delimited import Delimited
from strongroom.trace.leak.files import Opened
from strongroom.trace.leak.form import columns_of, is_json, is_sql
from strongroom.trace.leak.jsons import Objects
from strongroom.trace.leak.parquet import parquet_pieces
from strongroom.trace.leak.sqldump import Dump
from strongroom.trace.leak.text import Text

PARQUET = b"PAR1"


def read(file: Opened, field_names: Sequence[str]) -> Iterator[Piece]:
    """The rows of one file, in pieces.

    Args:
        file: An open file, or a member of an archive.
        field_names: Names of the schema's fields: they make a first line with them a header.

    Raises:
        InputError: The file is neither text nor Parquet, or damaged Parquet.
    """
    account = file.account
    rows = Rows(account)
    if file.head(4) == PARQUET:
        account.form = "parquet"
        yield from parquet_pieces(file, rows)
        return
    text = Text(file)
    if not text.head.strip():
        account.form = "text"
        yield from _plain(text, rows)
        return
    if text.binary:
        raise InputError(
            f"{account.source}: is not text, nor Parquet", hint="write the data as CSV, JSON Lines or Parquet."
        )
    if is_json(text.head):
        account.form = "json"
        yield from Objects(rows).pieces(text)
    elif is_sql(text.head):
        account.form = "sql"
        yield from Dump(rows, text.head).pieces(text.blocks(BLOCK_BYTES, longest=BLOCK_BYTES))
    elif (form := columns_of(text.head, field_names)) is not None:
        account.form = "csv"
        yield from Delimited(form, rows).pieces(text.blocks())
    else:
        account.form = "text"
        yield from _plain(text, rows)


def _plain(text: Text, rows: Rows) -> Iterator[Piece]:
    for block in text.blocks():
        piece = text_piece(rows, block.split(b"\n"), None)
        if len(piece.line_numbers):
            yield piece
