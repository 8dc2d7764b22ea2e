"""`edge-agent`: flags -> settings -> a loop."""

from __future__ import annotations

import os


def main() -> None:
    """The console script; the commands are imported only when one is to run."""
    # numpy's products here are small: threads of its own would only take cores from the model.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from edge_agent.cli.app import main as run

    run()
