"""Which canary is in which export, and what canaries found in a sample prove: codes, commitments, verdicts."""
