"""Persons who go for good: plan, erase, prove."""
