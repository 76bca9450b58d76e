"""`strongroom put`: records in, from files or stdin."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from strongroom.cli.common import (
    ActorOption,
    JsonOption,
    KeysOption,
    PassphraseOption,
    RoomOption,
    counted,
    open_room,
    print_json,
    print_table,
    say,
    where,
)
from strongroom.cli.progress import progress_bar


def put(
    table: Annotated[str, typer.Argument(help="Table to put into.")],
    files: Annotated[list[str], typer.Argument(help="CSV, JSON Lines or Parquet files, globs, or - for stdin.")],
    actor: ActorOption,
    columns: Annotated[
        str | None, typer.Option("--columns", help="Column names of a CSV file without a header.", metavar="A,B,…")
    ] = None,
    encoding: Annotated[str | None, typer.Option("--encoding", help="utf-8, gb18030, …; found when not given.")] = None,
    file_format: Annotated[str | None, typer.Option("--format", help="csv, jsonl or parquet; for stdin.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse it all if a record or column does not fit.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Put a file that was put before.")] = False,
    room: RoomOption = None,
    keys: KeysOption = None,
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Seal records of files into a table. Records that do not fit are counted and kept sealed."""
    with open_room(where(room, keys, passphrase_file), actor) as opened, progress_bar(sys.stderr) as progress:
        receipt = opened.put(
            table,
            files if len(files) > 1 else files[0],
            columns=None if columns is None else columns.split(","),
            encoding=encoding,
            format=file_format,
            strict=strict,
            again=again,
            progress=progress,
        )
    if as_json:
        print_json(receipt.to_dict())
        return
    say(
        f"{counted(receipt.records, 'record')} put, {counted(receipt.new_subjects, 'new subject')}, "
        f"snapshot {receipt.snapshot}"
    )
    if receipt.rejected:
        say(f"{counted(receipt.rejected, 'record')} did not fit, kept sealed: `strongroom rejects` lists them")
        print_table(("reason", "field", "records"), receipt.reject_rows())
    for note in receipt.notes:
        say(note)


def add_to(app: typer.Typer) -> None:
    """Add this verb."""
    app.command("put")(put)
