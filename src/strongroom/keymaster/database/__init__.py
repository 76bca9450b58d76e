"""The keymaster's database: SQLite or PostgreSQL, one writer at a time, many requests to one commit."""
