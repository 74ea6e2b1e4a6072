"""A registry file that changes all the time, mostly to something that can be read."""

import random
from pathlib import Path

import yaml

SERVERS = 12
BROKEN = (
    "",
    "version: 2\n",
    "servers: {a: {command: x, colour: red}}\n",
    'version: "1.0.0"\nservers: {a: {command: x}, a: {command: y}}\n',
    'version: "1.0.0"\nservers: [1]\n',
    'version: "1.0.0"\nservers: {"b c": {url: "http://x@y/"}}\n',
    'version: "1.0.0"\nservers: {a: {command: x, env: {API_TOKEN: s3cr3t-value-in-plain}}}\n',
    "\x00\xff",
    "a: &a [*a]\n",
    "[" * 300,
)


def write_registry(path: Path, dice: random.Random) -> None:
    """Replaces the file, as an editor does."""
    if dice.random() < 0.25:
        text = dice.choice(BROKEN)
    else:
        chosen = dice.sample(range(SERVERS), dice.randrange(SERVERS))
        text = yaml.safe_dump(
            {"version": "1.0.0", "servers": {f"file-{number}": _server(dice) for number in chosen}}
        )
    temporary = path.with_suffix(".new")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _server(dice: random.Random) -> dict[str, object]:
    server: dict[str, object] = {"name": "A server", "capabilities": ["files"]}
    if dice.random() < 0.5:
        return server | {"url": "https://example.org/mcp", "labels": {"team": "blue"}}
    return server | {"command": "npx", "args": ["-y", "x"], "env": {"TOKEN": "${TOKEN}"}}
