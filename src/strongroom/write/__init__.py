"""One door in: read what comes, check it, seal it, store it, index it, commit it once."""
