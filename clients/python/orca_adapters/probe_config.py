"""What is probed, how, and what a probe may do.

    timeout_seconds: 20
    concurrency: 4
    limits: {memory_mb: 512, cpu_seconds: 20}
    environment: [HOME]                  # variables that started commands see beside PATH
    agents:
      - agent: mcp/weather               # TYPE/NAME, NAME or id
        command: python3
        args: [weather.py]
        env: {API_KEY: "${WEATHER_KEY}"} # taken from the probe's environment, never stored
      - agent: mcp/search
        url: https://search.example/mcp
        headers: {Authorization: "Bearer ${SEARCH_TOKEN}"}
      - agent: files                     # reached as the server knows it
    filter: 'labels.probe = "yes"'       # and these of the fleet, reached as the server knows
    allow_commands:                      # of which only these commands are started
      - npx -y @modelcontextprotocol/server-memory
    allow_variables: [MEMORY_PATH]       # and only these references of theirs are resolved

What the server says of an agent may come from a public registry. So a command from there is
started only if an entry of `allow_commands` begins it, and a `${VAR}` from there is resolved
only if `allow_variables` names it. What this file says itself needs no such leave.
"""

import os
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError
from pydantic import model_validator as validates

from orca.errors import ConfigurationError
from orca_adapters.probe_limits import Limits

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


_DEFAULT = Limits()


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LimitSettings(_Strict):
    """Limits of started commands; see `Limits`."""

    memory_mb: PositiveInt = _DEFAULT.memory_mb
    cpu_seconds: PositiveInt = _DEFAULT.cpu_seconds
    open_files: PositiveInt = _DEFAULT.open_files
    processes: PositiveInt = _DEFAULT.processes
    file_mb: PositiveInt = _DEFAULT.file_mb

    def limits(self) -> Limits:
        """As the started process takes them."""
        return Limits(**self.model_dump())


class Target(_Strict):
    """One agent, and how it is reached if that is not left to the server.

    Attributes:
        agent: TYPE/NAME, NAME or id.
        url: Of streamable HTTP.
        command: Program to start; excludes url.
        args: Its arguments.
        env: Its environment, beside PATH.
        headers: Of HTTP requests.
    """

    agent: Annotated[str, Field(min_length=1)]
    url: str = ""
    command: str = ""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}

    @validates(mode="after")
    def _one_way(self) -> "Target":
        if self.url and self.command:
            raise ValueError("give url or command, not both")
        if (self.headers and not self.url) or ((self.args or self.env) and not self.command):
            raise ValueError("headers need a url; args and env need a command")
        return self


class ProbeConfig(_Strict):
    """What is probed and how; see the module."""

    agents: tuple[Target, ...] = ()
    filter: str = ""
    allow_commands: tuple[str, ...] = ()
    allow_variables: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    limits: LimitSettings = LimitSettings()
    timeout_seconds: PositiveFloat = 20.0
    concurrency: PositiveInt = 4
    folder: Path = Path()

    @validates(mode="after")
    def _something(self) -> "ProbeConfig":
        if not self.agents and not self.filter:
            raise ValueError("name agents, or give a filter")
        return self

    def allows(self, command: Iterable[str]) -> bool:
        """Whether a command that the server names may be started."""
        words = tuple(command)
        allowed = (tuple(shlex.split(each)) for each in self.allow_commands)
        return any(each and words[: len(each)] == each for each in allowed)


def load_config(path: Path | None, overrides: Mapping[str, Any]) -> ProbeConfig:
    """The configuration in a file, with what the command line says on top.

    Raises:
        ConfigurationError: If it cannot be read or is wrong; names the key
            (`PROBE_CONFIG_INVALID`).
    """
    content: Any = {}
    try:
        if path is not None:
            content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        if not isinstance(content, dict):
            raise _invalid(path, "it is no map of settings")
        folder = path.resolve().parent if path is not None else Path.cwd()
        return ProbeConfig(**{"folder": folder, **content, **overrides})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise _invalid(path, f"{key}: {first['msg']}" if key else first["msg"]) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise _invalid(path, " ".join(str(error).split())) from error


def _invalid(path: Path | None, cause: str) -> ConfigurationError:
    where = str(path) if path is not None else "The options"
    return ConfigurationError(f"{where}: {cause}", reason="PROBE_CONFIG_INVALID")


class Unresolved(Exception):
    """A reference that may not, or cannot, be resolved."""


def resolve(text: str, variables: Mapping[str, str], allowed: frozenset[str] | None) -> str:
    """The text with its `${VAR}` references replaced.

    Args:
        text: May hold references.
        variables: Their values.
        allowed: Names that may be resolved; None: all.

    Raises:
        Unresolved: If one is not set, or not allowed.
    """

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if allowed is not None and name not in allowed:
            raise Unresolved(f"${{{name}}} is not in allow_variables")
        if name not in variables:
            raise Unresolved(f"${{{name}}} is not set")
        return variables[name]

    return _REFERENCE.sub(value, text)


def secrets_in(texts: Iterable[str], variables: Mapping[str, str]) -> dict[str, str]:
    """Value -> reference, for each reference in the texts: to be put back into what is said."""
    names = {name for text in texts for name in _REFERENCE.findall(text)}
    return {variables[name]: f"${{{name}}}" for name in names if variables.get(name)}


def base_environment(names: Iterable[str]) -> dict[str, str]:
    """What every started command sees: PATH, and the variables that the operator names."""
    wanted = ("PATH", *names)
    return {name: os.environ[name] for name in wanted if name in os.environ}
