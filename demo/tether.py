"""Run a program that ends when its parent does: `python tether.py PARENT_PID PROGRAM ...`.

A killed walk cannot end its children; the kernel can (prctl(2), PR_SET_PDEATHSIG, kept across
execve). Where there is no such call the program runs all the same.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask for the signal, look whether the parent is still there, become the program."""
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != int(parent):
            sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - this is what the script is for


if __name__ == "__main__":
    main()
