"""The rivals that protect nothing: CSV to plain zstd Parquet, and DuckDB's SQL over it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

DICTIONARY = ["sex", "birth_date", "education", "ethnicity"]


def to_parquet(csv: str, out: str) -> dict[str, Any]:
    """Stream one CSV file into one Parquet file, columns as text, zstd, dictionaries where they are of use."""
    import pyarrow as pa
    import pyarrow.csv as pv
    import pyarrow.parquet as pq

    pa.set_cpu_count(1)
    started = time.perf_counter()
    text = {name: pa.string() for name in pv.open_csv(csv).schema.names}
    options = pv.ConvertOptions(column_types=text)
    with pv.open_csv(csv, pv.ReadOptions(use_threads=True, block_size=4 << 20), convert_options=options) as reader:
        writer = pq.ParquetWriter(out, reader.schema, compression="zstd", use_dictionary=DICTIONARY)
        for batch in reader:
            writer.write_batch(batch)
        writer.close()
    return {"seconds": time.perf_counter() - started, "bytes": Path(out).stat().st_size}


def open_columns(csv: str, folder: str, files: int) -> dict[str, Any]:
    """Write the open columns of a CSV file, typed, as so many plain Parquet files."""
    import pyarrow as pa
    import pyarrow.csv as pv
    import pyarrow.parquet as pq

    types = {"sex": pa.string(), "education": pa.string(), "created_at": pa.timestamp("us")}
    table = pv.read_csv(csv, convert_options=pv.ConvertOptions(include_columns=list(types), column_types=types))
    Path(folder).mkdir(parents=True, exist_ok=True)
    each = -(-len(table) // files)
    for i in range(files):
        part = table.slice(i * each, each)
        pq.write_table(part, f"{folder}/{i}.parquet", compression="zstd", row_group_size=122_880)
    return {"files": files}


def sql(folder: str, questions: dict[str, str]) -> dict[str, Any]:
    """Ask each question twice over plain Parquet with two threads; milliseconds of the second, a connection each."""
    import duckdb

    figures = {}
    for name, text in questions.items():
        question = text.replace("from persons", f"from read_parquet('{folder}/*.parquet')")
        for _ in range(2):
            started = time.perf_counter()
            duckdb.connect(config={"threads": 2}).sql(question).to_arrow_table()
            figures[name] = (time.perf_counter() - started) * 1e3
    return figures
