"""One door out: ask, then open; sql over open columns; check."""
