"""`edge-agent`: flags -> settings -> a loop."""

from edge_agent.cli.app import main

__all__ = ["main"]
