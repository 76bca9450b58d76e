"""What the keymaster notes: entries and labels, days, tails, what is published, and what the log answers."""
