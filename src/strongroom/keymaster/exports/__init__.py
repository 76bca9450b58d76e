"""What went to whom: exports decided, spent and released as a whole, their ledger, tokens and marks."""
