"""Writes and reads the open columns beside a run: Parquet with modular encryption, one key a file.

Rules it keeps: AES_GCM_V1 with 256 bits, encrypted footer, one key for all columns, which is the block key number 0 of
the file's own file key; rows stand in the order of the run; no token and no batch is in the file.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from strongroom.catalog.collector import PERSON_COLUMN, ROW_COLUMN
from strongroom.catalog.entries import Mint, ObjectEntry
from strongroom.errors import IntegrityError
from strongroom.seal.blocks import KIND_OPEN_COLUMNS, block_key
from strongroom.seal.entropy import random_bytes as real_random_bytes
from strongroom.store.base import Store, object_name

if TYPE_CHECKING:
    import pyarrow as pa

ROW_GROUP_ROWS = 131_072


class OpenFileWriter:
    """Writes one open-columns file in pieces. Use it in a `with` block; `entry` is there after it.

    Args:
        store: The bucket.
        mint: Gives the file key.
        schema: Arrow schema of the pieces, hidden columns included.
        random_bytes: Makes the object id.
    """

    def __init__(
        self,
        store: Store,
        mint: Mint,
        schema: pa.Schema,
        *,
        random_bytes: Callable[[int], bytes] = real_random_bytes,
    ) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq
        import pyarrow.parquet.encryption as pe

        self.object_id = random_bytes(16)
        self._file_key = mint(KIND_OPEN_COLUMNS, self.object_id)
        self._context = store.writer(object_name(self.object_id), hashed=True)
        self._out = self._context.__enter__()
        hidden = [name for name in (PERSON_COLUMN, ROW_COLUMN) if name in schema.names]
        self._sink = pa.PythonFile(_Sink(self._out), mode="w")
        self._writer = pq.ParquetWriter(
            self._sink,
            schema,
            compression="zstd",
            use_dictionary=[name for name in schema.names if name not in hidden],
            column_encoding=dict.fromkeys(hidden, "DELTA_BINARY_PACKED"),
            store_schema=False,
            encryption_properties=pe.create_encryption_properties(
                block_key(self._file_key.key, KIND_OPEN_COLUMNS, 0), encryption_algorithm="AES_GCM_V1"
            ),
        )
        self._rows = 0

    def __enter__(self) -> Self:
        return self

    def write(self, rows: pa.Table) -> None:
        """Append rows."""
        self._writer.write_table(rows, row_group_size=ROW_GROUP_ROWS)
        self._rows += rows.num_rows

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            try:
                self._writer.close()
            except BaseException as failure:
                self._context.__exit__(type(failure), failure, failure.__traceback__)
                raise
        self._context.__exit__(kind, error, trace)

    def entry(self, run: ObjectEntry) -> ObjectEntry:
        """What the manifest keeps of the file, beside that run; after the `with` block.

        Raises:
            IntegrityError: It has not as many rows as the run has entries.
        """
        if self._rows != run.entries:
            raise IntegrityError(f"open columns have {self._rows} rows beside a run of {run.entries}")
        return ObjectEntry(
            object_id=self.object_id,
            kind=KIND_OPEN_COLUMNS,
            table=run.table,
            key_id=self._file_key.key_id,
            length=self._out.length,
            sha256=self._out.sha256(),
            entries=self._rows,
            persons=run.persons,
            commit=run.commit,
            open_of=run.object_id,
            batches=run.batches,
            put_id=run.put_id,
            created=run.created,
        )


def write_open_file(
    store: Store,
    mint: Mint,
    run: ObjectEntry,
    rows: pa.Table,
    *,
    random_bytes: Callable[[int], bytes] = real_random_bytes,
) -> ObjectEntry:
    """Write the open columns of a run, durable when this returns; an `on_run` of SortedRuns.

    Args:
        store: The bucket.
        mint: Gives the file key; called in this thread.
        run: The run beside which it lies.
        rows: Its open columns in run order.
        random_bytes: Makes the object id.

    Returns:
        What the manifest keeps of it.
    """
    with OpenFileWriter(store, mint, rows.schema, random_bytes=random_bytes) as writer:
        writer.write(rows)
    return writer.entry(run)


def open_parquet(store: Store, entry: ObjectEntry, key: bytes) -> Any:
    """One file as a pyarrow ParquetFile; IntegrityError if it does not open under its key."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import pyarrow.parquet.encryption as pe

    try:
        return pq.ParquetFile(_source(store, entry), decryption_properties=pe.create_decryption_properties(key))
    except (pa.ArrowException, OSError):
        raise _broken(entry) from None


def _source(store: Store, entry: ObjectEntry) -> Any:
    """Something Arrow can read the object from; its length is checked first."""
    import pyarrow as pa

    name = object_name(entry.object_id)
    if store.size(name) != entry.length:
        raise _broken(entry)
    local = getattr(store, "local_path", None)
    return local(name) if local is not None else pa.BufferReader(store.get(name))


def _broken(entry: ObjectEntry) -> IntegrityError:
    return IntegrityError(f"open-columns file {entry.object_id.hex()} is not the one that was written")


class _Sink:
    """Shows a store's writer to Arrow as a file."""

    closed = False

    def __init__(self, out: Any) -> None:
        self._out = out

    def write(self, data: Any) -> int:
        return int(self._out.write(data))

    def tell(self) -> int:
        return int(self._out.length)

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """The store's writer is closed by its own block."""

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False
