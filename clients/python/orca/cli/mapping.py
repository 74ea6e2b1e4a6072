"""Which columns of a file become which fields, as the options of the command say it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from orca.cli.series import (
    ATTRIBUTE,
    COUNTS,
    FIELDS,
    MEASURES,
    TIME,
    TIME_COLUMNS,
    Plan,
    header,
)
from orca.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class FieldMapping:
    """Columns, constants and factors of fields; see `Plan`."""

    columns: Mapping[str, str]
    constants: Mapping[str, str]
    scales: Mapping[str, float]
    zone: tzinfo

    def fitted_to(self, file: Path) -> "FieldMapping":
        """The mapping with the file's own column of time.

        Raises:
            ConfigurationError: If a column is not there (`COLUMN_MISSING`), or the file has no
                rows (`INPUT_EMPTY`) or cannot be read.
        """
        there = header(file)
        if not there:
            raise ConfigurationError(f"{file.name} has no rows.", reason="INPUT_EMPTY")
        columns = dict(self.columns)
        if TIME not in columns:
            columns[TIME] = next((each for each in TIME_COLUMNS if each in there), TIME_COLUMNS[-1])
        # An object of JSON lines may leave out what it does not know, but not its time.
        checked = columns.values() if file.suffix.lower() == ".csv" else [columns[TIME]]
        if missing := [each for each in checked if each not in there]:
            raise ConfigurationError(
                f"{file.name} has no column '{missing[0]}'; it has: {', '.join(there)}.",
                reason="COLUMN_MISSING",
            )
        return replace(self, columns=columns)

    def plan(self, agent_id: str, name: str) -> Plan:
        """The plan for an agent; a row is one operation unless something else was said."""
        said = self.columns.keys() | self.constants.keys()
        constants = dict(self.constants)
        if "operations" not in said:
            constants["operations"] = "1"
        return Plan(agent_id, name, self.columns, constants, self.scales, self.zone)


def read_mapping(
    map: Iterable[str] | None,
    set_: Iterable[str] | None,
    scale: Iterable[str] | None,
    timezone: str,
) -> FieldMapping:
    """What the options --map, --set, --scale and --timezone say.

    Raises:
        typer.BadParameter: If they make no sense.
    """
    columns, constants = _pairs("--map", map), _pairs("--set", set_)
    scales = {name: _factor(name, value) for name, value in _pairs("--scale", scale).items()}
    for name in (*columns, *constants, *scales):
        if name not in FIELDS and not (name.startswith(ATTRIBUTE) and name != ATTRIBUTE):
            known = ", ".join(FIELDS)
            raise typer.BadParameter(f"'{name}' is no field; known are {known}, attributes.NAME.")
    if TIME in constants or "id" in constants:
        raise typer.BadParameter("observed_at and id differ from row to row: use --map.")
    if both := columns.keys() & constants.keys():
        raise typer.BadParameter(f"Both --map and --set for {', '.join(sorted(both))}.")
    if odd := scales.keys() - {*COUNTS, *MEASURES}:
        raise typer.BadParameter(f"--scale does not fit {', '.join(sorted(odd))}.")
    return FieldMapping(columns, constants, scales, _zone(timezone))


def _pairs(option: str, values: Iterable[str] | None) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for each in values or ():
        name, equals, value = each.partition("=")
        if not (name and equals and value):
            raise typer.BadParameter(f"{option} {each}: write FIELD=VALUE.")
        pairs[name] = value
    return pairs


def _factor(name: str, value: str) -> float:
    try:
        factor = float(value)
    except ValueError:
        factor = 0.0
    if not 0 < factor < float("inf"):
        raise typer.BadParameter(f"--scale {name}={value}: the factor must be above 0.")
    return factor


def _zone(name: str) -> tzinfo:
    try:
        return UTC if name.upper() in ("UTC", "Z") else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise typer.BadParameter(f"--timezone {name}: no such zone.") from error
