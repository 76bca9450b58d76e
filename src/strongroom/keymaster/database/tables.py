"""The tables of a keymaster, in one place.

What stands here in plain: actors, their public keys and what providers of identities call them, purposes, times,
counts, ids, and which schema and policy are in force. Keys lie wrapped, reasons and labels sealed. SQLite's dialect,
kept to what PostgreSQL says alike.
"""

from typing import Any

from strongroom.errors import IntegrityError
from strongroom.keys.rows import PAGE_TABLES

FORMAT = 5

TABLES = f"""
{PAGE_TABLES}
INSERT INTO counter VALUES ('batch', 0), ('standing', 0), ('pruned', 0), ('epoch', 1), ('signing', 1),
  ('placed', 0), ('behind', 0), ('told', -1), ('indexed', 0), ('maps', 0),
  ('canaries', 0), ('untold', 0), ('marked', 0);

CREATE TABLE room (one INTEGER PRIMARY KEY CHECK (one = 1), id BLOB NOT NULL, format INTEGER NOT NULL,
  epoch INTEGER NOT NULL, public_key BLOB NOT NULL);
CREATE TABLE place (one INTEGER PRIMARY KEY CHECK (one = 1), url TEXT NOT NULL);
CREATE TABLE epoch (number INTEGER PRIMARY KEY, begun REAL NOT NULL, ended REAL);
CREATE TABLE slot (name TEXT NOT NULL, epoch INTEGER NOT NULL REFERENCES epoch(number), kind TEXT NOT NULL,
  forgets INTEGER NOT NULL, made REAL NOT NULL, tested REAL NOT NULL, gone REAL,
  PRIMARY KEY (name, epoch)) WITHOUT ROWID;
CREATE TABLE head (number INTEGER PRIMARY KEY, object BLOB NOT NULL, sha256 BLOB NOT NULL,
  length INTEGER NOT NULL, key BLOB NOT NULL);

CREATE TABLE schema_version (number INTEGER PRIMARY KEY, text TEXT NOT NULL, stored TEXT NOT NULL);
CREATE TABLE table_version (id BLOB NOT NULL, version INTEGER NOT NULL, stored TEXT NOT NULL,
  PRIMARY KEY (id, version)) WITHOUT ROWID;
CREATE TABLE policy_version (number INTEGER PRIMARY KEY, text TEXT NOT NULL, stored TEXT NOT NULL);

CREATE TABLE wrapped_key (purpose TEXT NOT NULL, id BLOB NOT NULL, wrapped BLOB NOT NULL,
  PRIMARY KEY (purpose, id)) WITHOUT ROWID;
CREATE TABLE day_key (day INTEGER PRIMARY KEY, month BLOB NOT NULL, wrapped BLOB NOT NULL);

CREATE TABLE lease (id BLOB PRIMARY KEY, actor TEXT NOT NULL, verb TEXT NOT NULL, table_id BLOB, table_version INTEGER,
  base INTEGER NOT NULL, expires REAL NOT NULL, state TEXT NOT NULL, noted INTEGER NOT NULL,
  leaf INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX lease_by_state ON lease (state, expires);
CREATE TABLE batch (sequence INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, lease BLOB NOT NULL REFERENCES lease(id),
  table_id BLOB NOT NULL, table_version INTEGER NOT NULL, records INTEGER, state TEXT NOT NULL, minted REAL NOT NULL);
CREATE INDEX batch_by_lease ON batch (lease);
CREATE INDEX batch_by_time ON batch (table_id, minted);
CREATE TABLE batch_index (sequence INTEGER NOT NULL REFERENCES batch(sequence), field BLOB NOT NULL,
  PRIMARY KEY (sequence, field)) WITHOUT ROWID;
CREATE TABLE file_key (id BLOB PRIMARY KEY, object BLOB NOT NULL UNIQUE, kind INTEGER NOT NULL, table_id BLOB,
  lease BLOB NOT NULL REFERENCES lease(id), state TEXT NOT NULL, dropped_at INTEGER, wrapped BLOB,
  clean INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX file_key_by_lease ON file_key (lease);
CREATE TABLE outer_key_use (field BLOB NOT NULL, snapshot INTEGER NOT NULL, version INTEGER NOT NULL,
  PRIMARY KEY (field, snapshot)) WITHOUT ROWID;
CREATE TABLE outer_key_plan (lease BLOB PRIMARY KEY REFERENCES lease(id), field BLOB NOT NULL,
  version INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE source (table_id BLOB NOT NULL, digest BLOB NOT NULL, PRIMARY KEY (table_id, digest)) WITHOUT ROWID;

CREATE TABLE put_again (table_id BLOB NOT NULL, chunk INTEGER NOT NULL, persons BLOB NOT NULL,
  PRIMARY KEY (table_id, chunk)) WITHOUT ROWID;

CREATE TABLE tombstone (token BLOB PRIMARY KEY, sequence INTEGER NOT NULL, leaf INTEGER NOT NULL,
  at REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX tombstone_by_leaf ON tombstone (leaf);
CREATE INDEX tombstone_by_sequence ON tombstone (sequence);
CREATE TABLE erasure (leaf INTEGER PRIMARY KEY, persons INTEGER NOT NULL, epoch INTEGER NOT NULL,
  since INTEGER NOT NULL);
CREATE TABLE hold (token BLOB PRIMARY KEY, actor TEXT NOT NULL, leaf INTEGER NOT NULL, at REAL NOT NULL) WITHOUT ROWID;

CREATE TABLE bucket_copy (url TEXT PRIMARY KEY, snapshot INTEGER NOT NULL, objects INTEGER NOT NULL,
  bytes INTEGER NOT NULL, made REAL NOT NULL) WITHOUT ROWID;

CREATE TABLE key_copy (url TEXT PRIMARY KEY, leaf INTEGER NOT NULL, epoch INTEGER NOT NULL, pages INTEGER NOT NULL,
  bytes INTEGER NOT NULL, made REAL NOT NULL) WITHOUT ROWID;

CREATE TABLE gap (size INTEGER NOT NULL, root BLOB NOT NULL, first INTEGER NOT NULL, actor TEXT NOT NULL,
  accepted INTEGER NOT NULL, PRIMARY KEY (size, root)) WITHOUT ROWID;

CREATE TABLE credential (id TEXT PRIMARY KEY, actor TEXT NOT NULL, public_key BLOB NOT NULL, networks TEXT NOT NULL,
  purposes TEXT NOT NULL, server INTEGER NOT NULL, budgets TEXT NOT NULL, made REAL NOT NULL, expires REAL NOT NULL,
  revoked REAL NOT NULL, identity TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX credential_by_identity ON credential (identity, expires);
CREATE TABLE identity (id TEXT PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, actor TEXT NOT NULL,
  said TEXT NOT NULL, networks TEXT NOT NULL, purposes TEXT NOT NULL, hours REAL NOT NULL, signs INTEGER NOT NULL,
  made REAL NOT NULL, expires REAL NOT NULL, revoked REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX identity_by_name ON identity (name);

CREATE TABLE frozen (kind TEXT NOT NULL, name TEXT NOT NULL, actor TEXT NOT NULL, leaf INTEGER NOT NULL,
  at REAL NOT NULL, PRIMARY KEY (kind, name)) WITHOUT ROWID;
CREATE TABLE approval (id TEXT PRIMARY KEY, kind TEXT NOT NULL, said TEXT NOT NULL, month BLOB NOT NULL,
  reason BLOB NOT NULL, actor TEXT NOT NULL, asked REAL NOT NULL, expires REAL NOT NULL, state TEXT NOT NULL,
  decided_by TEXT, decided REAL) WITHOUT ROWID;
CREATE INDEX approval_by_state ON approval (state, expires);

CREATE TABLE export (id BLOB PRIMARY KEY, leaf INTEGER NOT NULL, actor TEXT NOT NULL, purpose TEXT NOT NULL,
  recipient TEXT NOT NULL, at REAL NOT NULL, snapshot INTEGER NOT NULL, said TEXT NOT NULL, persons INTEGER NOT NULL,
  approval TEXT NOT NULL, approver TEXT NOT NULL, commitment BLOB NOT NULL, digest BLOB NOT NULL, sealed BLOB NOT NULL,
  state TEXT NOT NULL, records INTEGER NOT NULL, root BLOB, ended REAL, ended_leaf INTEGER,
  opened INTEGER) WITHOUT ROWID;
CREATE INDEX export_by_leaf ON export (leaf);

CREATE TABLE canary_pool (number INTEGER PRIMARY KEY, bias INTEGER NOT NULL, count INTEGER NOT NULL,
  persons INTEGER NOT NULL, root BLOB NOT NULL, leaf INTEGER NOT NULL, at REAL NOT NULL, sealed BLOB NOT NULL);
CREATE INDEX canary_pool_by_leaf ON canary_pool (leaf);
CREATE TABLE canary_planted (number INTEGER PRIMARY KEY, leaf INTEGER NOT NULL, dense TEXT NOT NULL);

CREATE TABLE review (id TEXT PRIMARY KEY, actor TEXT NOT NULL, purpose TEXT NOT NULL, leaf INTEGER NOT NULL,
  at REAL NOT NULL, month BLOB NOT NULL, sealed BLOB NOT NULL, closed_by TEXT, closed REAL, closed_month BLOB,
  closing BLOB) WITHOUT ROWID;

CREATE TABLE reading (id BLOB PRIMARY KEY, actor TEXT NOT NULL, purpose TEXT NOT NULL, head INTEGER NOT NULL,
  expires REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE request (id BLOB PRIMARY KEY, digest BLOB NOT NULL, answer TEXT NOT NULL,
  made REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX request_by_time ON request (made);
CREATE TABLE reply (id BLOB PRIMARY KEY, digest BLOB NOT NULL, month BLOB NOT NULL, sealed BLOB NOT NULL,
  made REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX reply_by_time ON reply (made);

CREATE TABLE scope (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE seen (scope INTEGER NOT NULL REFERENCES scope(id), ordinal INTEGER NOT NULL, at INTEGER NOT NULL,
  PRIMARY KEY (scope, ordinal)) WITHOUT ROWID;
CREATE TABLE seen_map (scope INTEGER NOT NULL REFERENCES scope(id), slot INTEGER NOT NULL, persons BLOB NOT NULL,
  PRIMARY KEY (scope, slot)) WITHOUT ROWID;
CREATE TABLE spent (scope INTEGER NOT NULL REFERENCES scope(id), period TEXT NOT NULL, slot INTEGER NOT NULL,
  count INTEGER NOT NULL, PRIMARY KEY (scope, period, slot)) WITHOUT ROWID;
CREATE TABLE reserved (lease BLOB NOT NULL REFERENCES lease(id), scope INTEGER NOT NULL REFERENCES scope(id),
  period TEXT NOT NULL, slot INTEGER NOT NULL, count INTEGER NOT NULL, most INTEGER NOT NULL,
  PRIMARY KEY (lease, scope, period, slot)) WITHOUT ROWID;

CREATE TABLE log_key (number INTEGER PRIMARY KEY, public_key BLOB NOT NULL, first INTEGER NOT NULL, last INTEGER);
CREATE TABLE leaf (number INTEGER PRIMARY KEY, time INTEGER NOT NULL, entry BLOB NOT NULL);
CREATE TABLE leaf_of (kind TEXT NOT NULL, name TEXT NOT NULL, chunk INTEGER NOT NULL, offsets BLOB NOT NULL,
  PRIMARY KEY (kind, name, chunk)) WITHOUT ROWID;
CREATE TABLE leaf_labels (leaf INTEGER PRIMARY KEY, day INTEGER NOT NULL, month BLOB NOT NULL, sealed BLOB NOT NULL);
CREATE INDEX leaf_labels_by_day ON leaf_labels (day, leaf);
CREATE TABLE day_map (day INTEGER PRIMARY KEY, first INTEGER NOT NULL, leaf INTEGER NOT NULL, labels INTEGER NOT NULL,
  root BLOB NOT NULL, state TEXT NOT NULL, sealed BLOB NOT NULL);
CREATE TABLE day_part (day INTEGER NOT NULL, part INTEGER NOT NULL, sealed BLOB NOT NULL,
  PRIMARY KEY (day, part)) WITHOUT ROWID;
CREATE TABLE leaf_reason (leaf INTEGER PRIMARY KEY, month BLOB NOT NULL, sealed BLOB NOT NULL);
"""  # noqa: S608 - the only part put in is another constant of this project


def check_format(row: Any) -> None:
    """Check the row (format,) of a database that is opened.

    Raises:
        IntegrityError: There is none, or it is of another format.
    """
    if row is None:
        raise IntegrityError("the keymaster's database names no room")
    if row[0] != FORMAT:
        raise IntegrityError(
            f"the keymaster's database is of another format: {row[0]}, and this version reads {FORMAT}",
            hint="nothing was changed: open it with the version of strongroom that made it; formats are not migrated",
        )
