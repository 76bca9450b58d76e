"""Persons who go for good: plans, holds, tombstones, and which entries are dead."""
