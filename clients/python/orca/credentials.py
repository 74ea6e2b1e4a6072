"""Where a token comes from, and whether it may be sent."""

import os
from collections.abc import Mapping
from pathlib import Path

from orca.errors import ConfigurationError

TOKEN_VARIABLE = "ORCA_TOKEN"  # noqa: S105 - the name of a variable
TOKEN_FILE_VARIABLE = "ORCA_TOKEN_FILE"  # noqa: S105 - the name of a variable


class TokenSource:
    """A token that is read when it is needed.

    A file is read again when it changes, so that a rotated token is used by the next call.
    """

    def __init__(self, token: str = "", path: Path | None = None) -> None:
        """One of the two, or neither: then calls carry no token."""
        self._token = token
        self._path = path
        self._version: tuple[int, int] | None = None

    def __bool__(self) -> bool:
        return bool(self._token) or self._path is not None

    def read(self) -> str:
        """The token of now; empty if there is none.

        Raises:
            ConfigurationError: If the file cannot be read or is empty (`TOKEN_FILE_UNREADABLE`).
        """
        if self._path is None:
            return self._token
        try:
            status = self._path.stat()
            version = (status.st_mtime_ns, status.st_ino)
            if version != self._version:
                self._token, self._version = _text_of(self._path), version
        except (OSError, UnicodeDecodeError) as error:
            raise _unreadable(self._path, str(error)) from error
        return self._token


def _text_of(path: Path) -> str:
    token = path.read_text(encoding="ascii").strip()
    if not token:
        raise _unreadable(path, "it is empty")
    return token


def _unreadable(path: Path, cause: str) -> ConfigurationError:
    return ConfigurationError(
        f"The token file {path} cannot be used: {cause}",
        reason="TOKEN_FILE_UNREADABLE",
        metadata={"path": str(path)},
    )


def find_token(
    token: str | None = None,
    token_file: str | os.PathLike[str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> TokenSource:
    """The token to use: the argument, else the file, else ORCA_TOKEN, else ORCA_TOKEN_FILE.

    Args:
        token: The token itself; `""` means none, whatever the environment says.
        token_file: A file that holds it.
        environment: Variables to look in; those of the process unless given.
    """
    if token is not None:
        return TokenSource(token.strip())
    if token_file is not None:
        return TokenSource(path=Path(token_file))
    variables = os.environ if environment is None else environment
    if variables.get(TOKEN_VARIABLE):
        return TokenSource(variables[TOKEN_VARIABLE].strip())
    if variables.get(TOKEN_FILE_VARIABLE):
        return TokenSource(path=Path(variables[TOKEN_FILE_VARIABLE]))
    return TokenSource()
