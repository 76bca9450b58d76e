"""The command line: one file per verb; data on stdout, everything else on stderr."""

from strongroom.cli.app import main

__all__ = ["main"]
