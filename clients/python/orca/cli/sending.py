"""What `orca telemetry send` and `orca events send` have in common."""

import json
from datetime import UTC, datetime
from typing import TypeVar

import typer
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message

from orca.cli.series import parse_time, to_datetime
from orca.errors import ConfigurationError

RequestT = TypeVar("RequestT", bound=Message)


def read_instant(option: str, text: str | None) -> datetime:
    """The instant that an option says; now, if it says nothing.

    Raises:
        typer.BadParameter: If it is no time.
    """
    if text is None:
        return datetime.now(UTC)
    try:
        return to_datetime(parse_time(text))
    except ValueError as error:
        raise typer.BadParameter(f"{option}: {error}.") from error


def read_json(text: str, field: str, request: RequestT) -> RequestT:
    """The request that JSON says: one record, a list of them, or an object with `field`.

    Raises:
        ConfigurationError: If it is not that (`INPUT_INVALID`).
    """
    try:
        content = json.loads(text)
        if isinstance(content, dict):
            content = content.get(field, [content])
        return ParseDict({field: content}, request)
    except (ValueError, ParseError) as error:
        raise ConfigurationError(f"Standard input: {error}", reason="INPUT_INVALID") from error
