"""The HTTP API in front of a room, and its client: every request goes on to the keymaster as its caller signed it."""
