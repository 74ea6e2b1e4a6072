"""`python -m orca_server` is `orca`."""

from orca_server.cli import main

main()
