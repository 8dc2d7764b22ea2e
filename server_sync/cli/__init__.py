"""`server-sync`: flags to settings to work."""

from __future__ import annotations

import sys

from operations.errors import OperatorError
from operations.extras import needing


def main() -> None:
    """Entry point; errors meant for the operator end as text and an exit code."""
    try:
        with needing("server"):
            from server_sync.cli.commands import app

            app()
    except OperatorError as error:
        sys.stderr.write(f"server-sync: {error}\n")
        raise SystemExit(int(error.exit_code)) from error
