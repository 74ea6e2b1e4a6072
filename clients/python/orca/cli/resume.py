"""What an import must remember, so that a second run makes the same keys.

A record is known by its agent, its time and its id. The time of a series that was moved
depends on when that was decided; so the decision is written down, beside the input, before
anything is sent. A run after kill -9 finds it, and what was sent already is counted once.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from orca.cli.series import digest
from orca.errors import ConfigurationError

_SUFFIX = ".orca-resume.json"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Decision:
    """How one input was imported for one agent.

    Attributes:
        agent_id: The agent.
        agent: Its type and name, for people.
        sha256: Digest of the input as it was.
        size_bytes: Its size.
        shift_us: How far its times were moved, in microseconds.
        ends_at: When it ends after that, for people.
        rows_acknowledged: Rows of the last run that the server has answered for.
        finished: Whether that was all.
    """

    agent_id: str
    agent: str
    sha256: str
    size_bytes: int
    shift_us: int
    ends_at: str
    rows_acknowledged: int = 0
    finished: bool = False


class ResumeFile:
    """The decisions about one input file."""

    def __init__(self, source: Path, state_dir: Path | None = None) -> None:
        """Beside the source, unless there is another folder for it.

        Raises:
            ConfigurationError: If the folder cannot be written (`STATE_NOT_WRITABLE`) or the
                file is not ours (`STATE_UNREADABLE`).
        """
        self.path = _path(source, state_dir)
        _require_writable(self.path)
        self._decisions = _load(self.path)

    def find(self, agent_id: str, source: Path) -> Decision | None:
        """The decision for this agent and this input, or for the input it has grown from."""
        size = source.stat().st_size
        for each in self._decisions:
            same_agent = each.agent_id == agent_id and each.size_bytes <= size
            if same_agent and digest(source, each.size_bytes) == each.sha256:
                return each
        return None

    def remember(self, decision: Decision, instead_of: Decision | None = None) -> None:
        """Writes a decision to disk before it is acted on."""
        self._decisions = [each for each in self._decisions if each != instead_of] + [decision]
        self._save(durable=True)

    def acknowledge(self, decision: Decision, rows: int, finished: bool) -> Decision:
        """Notes how far the import is; returns the decision with that in it."""
        noted = replace(decision, rows_acknowledged=rows, finished=finished)
        self._decisions = [noted if each == decision else each for each in self._decisions]
        self._save(durable=finished)
        return noted

    def _save(self, durable: bool) -> None:
        content = {"version": _VERSION, "imports": [asdict(each) for each in self._decisions]}
        temporary = self.path.with_name(f"{self.path.name}.new")
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(content, file, indent=2)
            file.write("\n")
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.replace(self.path)


def _path(source: Path, state_dir: Path | None) -> Path:
    if state_dir is None:
        return source.with_name(f"{source.name}{_SUFFIX}")
    where = hashlib.sha256(str(source.resolve()).encode()).hexdigest()[:12]
    return state_dir / f"{source.name}.{where}{_SUFFIX}"


def _require_writable(path: Path) -> None:
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise ConfigurationError(
            f"The folder {path.parent} cannot be written, and the import must remember there "
            "how it moved the series: name another with --state-dir.",
            reason="STATE_NOT_WRITABLE",
            metadata={"path": str(path.parent)},
        )


def _load(path: Path) -> list[Decision]:
    if not path.exists():
        return []
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content["version"] != _VERSION:
            raise ValueError(f"version {content['version']}")
        return [Decision(**each) for each in content["imports"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"The resume file {path} cannot be used ({error}): remove it if the series was "
            "never imported, else restore it.",
            reason="STATE_UNREADABLE",
            metadata={"path": str(path)},
        ) from error
