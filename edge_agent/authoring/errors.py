"""Why a model cannot become a bundle."""

from __future__ import annotations

from operations.errors import OperatorError


class AuthoringError(OperatorError):
    """No bundle was written; all that stands in the way at once."""
