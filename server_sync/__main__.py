"""`python -m server_sync`."""

from server_sync.cli import main

main()
