"""Canary persons: people who do not exist, with records in every table, whom nothing tells from real ones."""
