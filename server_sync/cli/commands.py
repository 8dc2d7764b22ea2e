"""The commands of `server-sync`."""

from __future__ import annotations

import typer

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
