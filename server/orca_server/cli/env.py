"""`orca env`: what a shell needs to reach the local stack."""

import shlex

import typer

from orca_server.cli.local_failures import told_plainly


def mount(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("env")(env)


def env() -> None:
    """Print exports for a shell: eval "$(orca env)". Then psql and pg_dump find the database.

    Its own psql, pg_dump and pg_restore come first on PATH, since an older pg_dump refuses the
    server. No key that signs tokens is printed.

    Example: eval "$(orca env)"
    """
    from orca_server.local import connection

    with told_plainly():
        found = connection.find()
    folder = shlex.quote(str(found.programs))
    print(f"export DATABASE_URL={shlex.quote(found.url)}")
    print(f"export ORCA_ADDRESS={shlex.quote(found.grpc_address)}")
    print(f'case ":$PATH:" in *:{folder}:*) ;; *) export PATH={folder}:"$PATH" ;; esac')
