"""Run the command line as `python -m strongroom.cli`."""

from strongroom.cli.app import main

main()
