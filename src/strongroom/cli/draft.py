"""`strongroom draft`: from files to a proposed schema."""

from __future__ import annotations

from typing import Annotated

import typer


def draft(
    files: Annotated[list[str], typer.Argument(help="CSV, JSON Lines or Parquet files; one table each.")],
    rows: Annotated[int, typer.Option("--rows", help="How many records of each file to look at.")] = 20_000,
) -> None:
    """Read a sample of files and print a schema that would hold them, to be read and corrected."""
    from strongroom.schema.draft import draft_tables
    from strongroom.write.sources import sample_tables

    print(draft_tables(sample_tables(files, rows=rows)), end="")


def add_to(app: typer.Typer) -> None:
    """Add this verb."""
    app.command("draft")(draft)
