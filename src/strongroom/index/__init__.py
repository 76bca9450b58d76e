"""Finds entries in stored runs: by token, in order, and several runs merged into one."""
