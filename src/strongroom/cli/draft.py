"""`strongroom draft`: from files to a proposed schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from strongroom.errors import InputError


def draft(
    files: Annotated[list[str], typer.Argument(help="CSV, JSON Lines or Parquet files; one table each.")],
    rows: Annotated[int, typer.Option("--rows", help="How many records of each file to look at.")] = 20_000,
) -> None:
    """Read a sample of files and print a schema that would hold them, to be read and corrected."""
    import pyarrow as pa

    from strongroom.schema.draft import draft_tables
    from strongroom.write.sources import open_sources

    samples = {}
    for file in files:
        with open_sources(file, rows_per_batch=rows) as sources:
            first = next(sources, None)
        if first is None or not first.columns.num_rows:
            raise InputError(f"{file}: no records to look at")
        samples[Path(file).name.split(".")[0]] = pa.Table.from_batches([first.columns])
    print(draft_tables(samples), end="")


def add_to(app: typer.Typer) -> None:
    """Add this verb."""
    app.command("draft")(draft)
