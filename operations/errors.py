"""Errors meant for an operator: all that is wrong at once, each with a hint, and an exit code."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """How a command ended."""

    DONE = 0
    FAULT = 1
    """A fault of the program itself; the interpreter ends so by its own."""
    USAGE = 2
    """Wrong flags, or a settings file that does not hold."""
    CANNOT_RUN = 3
    """A bundle, database, folder or broker that the command needs is missing or unusable."""
    LEFT_OVER = 4
    """A drain ended with samples still in the outbox."""
    SOME_FAILED = 5
    """The run went on to its end, but some input could not be used; the ledger says which."""
    STOPPED = 6
    """Stopped before its end; started again, it goes on from there."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and what to do about it."""

    message: str
    hint: str = ""


class OperatorError(Exception):
    """Stops a command; `problems` lists everything found wrong, not only the first."""

    exit_code: ExitCode = ExitCode.CANNOT_RUN

    def __init__(self, summary: str, problems: Iterable[Problem] = ()) -> None:
        super().__init__(summary)
        self.summary = summary
        self.problems = tuple(problems)

    def __str__(self) -> str:
        lines = [self.summary]
        for problem in self.problems:
            lines.append(f"  - {problem.message}")
            if problem.hint:
                lines.append(f"    hint: {problem.hint}")
        return "\n".join(lines)


class SettingsError(OperatorError):
    """A settings file that does not hold."""

    exit_code = ExitCode.USAGE
