"""The listener of every server here: TLS, what a connection may hold and for how long, an end on a signal."""
