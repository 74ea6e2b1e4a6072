"""The user that PostgreSQL runs as: never root, which it refuses."""

import os
import pwd
import subprocess
from pathlib import Path

from orca_server.local.errors import LocalError
from orca_server.local.program import Account

CANDIDATES = ("postgres", "nobody")
"""Tried in this order by root. `nobody` exists everywhere, but may be shared with others."""


def current() -> Account:
    """The user that we are.

    Raises:
        LocalError: If it has no name, which PostgreSQL demands.
    """
    uid = os.geteuid()
    try:
        return Account(pwd.getpwuid(uid).pw_name, uid, os.getegid())
    except KeyError as error:
        raise LocalError(
            f"PostgreSQL needs a user name, and user id {uid} has none: add it to /etc/passwd, "
            f"or run as root or as a user with a name."
        ) from error


def unprivileged(owner_uid: int | None = None) -> Account:
    """The user to become when we are root: the owner of the data already there, else a usual one.

    Raises:
        LocalError: If this machine has no user that root can become.
    """
    for entry in _entries(owner_uid):
        account = Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
        if can(account, "-d", Path("/")):
            return account
    raise LocalError(
        "PostgreSQL refuses to run as root, and there is no other user to run it as: "
        "`useradd --system postgres` makes one."
    )


def _entries(owner_uid: int | None) -> list[pwd.struct_passwd]:
    known = {entry.pw_uid: entry for entry in pwd.getpwall()}
    if owner_uid:
        return [known[owner_uid]] if owner_uid in known else []
    by_name = {entry.pw_name: entry for entry in known.values() if entry.pw_uid != 0}
    return [by_name[name] for name in CANDIDATES if name in by_name]


def can(account: Account, test: str, path: Path) -> bool:
    """Whether the account passes `test TEST PATH`, asked as that user.

    Only the kernel knows: rights of every folder above, access lists and user namespaces count.
    """
    if account.uid == os.geteuid():
        arguments = {}
    else:
        arguments = {"user": account.uid, "group": account.gid, "extra_groups": ()}
    try:
        done = subprocess.run(["test", test, str(path)], cwd="/", check=False, **arguments)  # type: ignore[call-overload]
    except (OSError, subprocess.SubprocessError):
        return False
    return bool(done.returncode == 0)
