"""`edge-agent`: flags -> settings -> a loop."""

from __future__ import annotations


def main() -> None:
    """The console script; the commands are imported only when one is to run."""
    from edge_agent.cli.app import main as run

    run()
