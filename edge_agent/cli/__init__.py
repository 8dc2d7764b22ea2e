"""`edge-agent`: flags -> settings -> a loop."""

from __future__ import annotations

import os
import sys

from operations.errors import OperatorError
from operations.extras import needing


def main() -> None:
    """The console script; the commands are imported only when one is to run."""
    # numpy's products here are small: threads of its own would only take cores from the model.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        with needing("edge"):
            from edge_agent.cli.app import main as run

            run()
    except OperatorError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
