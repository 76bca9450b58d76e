"""What is told of an error that nobody expected."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path


def defect(error: Exception) -> str:
    """Where it happened; told to the operator too. Its text could hold a value."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    told = f"a defect: {type(error).__name__} at {Path(last.filename).name}:{last.lineno}"
    logging.getLogger("strongroom").error(told)
    return told
