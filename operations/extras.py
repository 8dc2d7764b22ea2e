"""A program without the libraries it needs says which extra brings them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from operations.errors import OperatorError, Problem

OURS = ("edge_agent", "operations", "server_sync", "sync_protocol")


@contextmanager
def needing(extra: str) -> Iterator[None]:
    """Imports in the block need the libraries of `extra`.

    Raises:
        OperatorError: a library is not installed. A missing module of Python's own or of ours is
            no matter of extras and is raised as it is.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if not missing or missing in OURS or missing in sys.stdlib_module_names:
            raise
        hint = f"pip install 'tilesift[{extra}]', or in a clone of it: pip install '.[{extra}]'"
        raise OperatorError(
            f"a library that this program needs is not installed: {missing}",
            [Problem("tilesift was installed without it", hint)],
        ) from error
