"""What happened, in an order nobody can rewrite: log entries, C2SP tiles, signed checkpoints and proofs.

`entry` is one line of the log as bytes; `tlog` the arithmetic of the tree; `note` signs and checks
checkpoints; `log` derives tiles from entries; `verify` recomputes everything; `proof` is a receipt that
needs no log.
"""
