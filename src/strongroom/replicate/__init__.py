"""The same sealed objects elsewhere, and home again."""
