"""One door out: ask, then open; sql; check."""
