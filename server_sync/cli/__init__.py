"""`server-sync`: flags to settings to work."""

from __future__ import annotations

import sys

import typer

from operations.errors import OperatorError
from server_sync.cli import samples, serve, status

app = typer.Typer(
    name="server-sync",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("serve")(serve.serve)
app.command("status")(status.status)
app.add_typer(samples.app, name="samples")


@app.callback()
def _root() -> None:
    """The base: takes samples in from devices, keeps them, shows them, exports them."""


def main() -> None:
    """Entry point; errors meant for the operator end as text and an exit code."""
    try:
        app()
    except OperatorError as error:
        sys.stderr.write(f"server-sync: {error}\n")
        raise SystemExit(int(error.exit_code)) from error
