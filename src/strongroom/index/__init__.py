"""Find a record without opening the others: entries of runs by subject token, index entries by value token."""
