"""A progress bar with rate and time left, on a terminal only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO


@contextmanager
def progress_bar(stream: TextIO, noun: str = "records") -> Iterator[Callable[[int, int, int | None], None] | None]:
    """Yields `update(count, bytes_done, bytes_total)`, or None where nobody watches; `noun` is what is counted."""
    if not stream.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    bar = Progress(
        TextColumn(f"{{task.fields[count]:,}} {noun}"),
        BarColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(file=stream),
        transient=True,
    )
    with bar:
        task = bar.add_task(noun, total=None, count=0)

        def update(count: int, bytes_done: int, bytes_total: int | None) -> None:
            bar.update(task, completed=bytes_done, total=bytes_total, count=count)

        yield update
