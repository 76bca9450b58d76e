"""fallback"""
from __future__ import annotations

import glob
import hashlib
from pathlib import Path

import pyarrow as pa

from strongroom.write.sources_base import ROWS_PER_BATCH, Selection, SourceBatch, SourceDigest


class Sources:
    def __init__(self, what, columns, encoding, format, selection):
        self.what=what; self.columns=columns; self.sel=selection; self.bytes_done=0; self.bytes_total=None; self.digests=[]
        self.encoding=encoding
    def __enter__(self): return self
    def __exit__(self,*a): pass
    def digests_up_front(self):
        for p in self._paths():
            yield SourceDigest(p, hashlib.sha256(Path(p).read_bytes()).digest(), Path(p).stat().st_size)
    def _paths(self):
        w=self.what
        if isinstance(w,(str,Path)): w=[w]
        if isinstance(w,list) and all(isinstance(x,(str,Path)) for x in w):
            return [q for p in w for q in (sorted(glob.glob(str(p))) or [str(p)])]
        return []
    def __iter__(self):
        if isinstance(self.what, pa.Table):
            row=1
            for b in self.what.combine_chunks().to_batches(max_chunksize=ROWS_PER_BATCH):
                yield SourceBatch("table", row, b); row+=b.num_rows
            return
        import pyarrow.csv as pv
        for p in self._paths():
            self.digests.append(SourceDigest(p, hashlib.sha256(Path(p).read_bytes()).digest(), Path(p).stat().st_size))
            if p.endswith(".parquet"):
                import pyarrow.parquet as pq
                t=pq.read_table(p); batches=t.to_batches(max_chunksize=ROWS_PER_BATCH)
            elif p.endswith(".jsonl"):
                import json
                t=pa.Table.from_pylist([json.loads(l) for l in open(p,encoding="utf-8")]); batches=t.to_batches(max_chunksize=ROWS_PER_BATCH)
            else:
                head=pv.open_csv(p).schema.names
                batches=pv.open_csv(p, read_options=pv.ReadOptions(block_size=24<<20), convert_options=pv.ConvertOptions(column_types={n:pa.string() for n in head}, strings_can_be_null=True, null_values=[""], include_columns=[n for n in head if n in self.sel.known]))
            row=1
            for b in batches:
                for s in range(0,b.num_rows,ROWS_PER_BATCH):
                    q=b.slice(s,ROWS_PER_BATCH)
                    yield SourceBatch(p,row,q); row+=q.num_rows

def open_sources(what, *, columns=None, encoding=None, format=None, table_fields=None, needed_fields=None):
    return Sources(what, columns, encoding, format, Selection.of(table_fields, needed_fields))
