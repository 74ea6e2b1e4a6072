"""Settings: environment variables and a `.env` file, checked once, all faults named at once.

The environment wins over the file. JWT_SECRET and HMAC_SECRET are different: the values of both
places, and of repeated lines of the file, are all valid, and the last line of the file signs.
So a secret is replaced by adding a line, and the old one goes when no token needs it any more.
"""

import os
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, Literal

from dotenv.parser import parse_stream
from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_core.core_schema import ValidationInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

PPB = 1_000_000_000
SHORTEST_SECRET = 32
OUTSIDE = frozenset({"greater_than_equal", "less_than_equal", "greater_than"})
"""Kinds of fault of a number outside its bounds."""
REPEATABLE = frozenset({"JWT_SECRET", "HMAC_SECRET"})
COMPONENTS = ("agent_uptime", "policy_adherence", "sync_freshness", "risk_exposure")
WEIGHTS = "agent_uptime=0.30,policy_adherence=0.30,sync_freshness=0.25,risk_exposure=0.15"


class BadSettings(Exception):
    """The settings cannot be used; the message names every fault, one per line."""


def billionths(value: object) -> object:
    """A decimal text as an exact integer in parts per billion."""
    if isinstance(value, int):  # already in parts per billion
        return value
    try:
        scaled = Decimal(str(value).strip()) * PPB
    except InvalidOperation:
        raise ValueError(f"'{value}' is no number") from None
    if not scaled.is_finite() or scaled != scaled.to_integral_value():
        raise ValueError(f"'{value}' has more than 9 decimals")
    return int(scaled)


def _weights(value: object) -> object:
    """`name=0.3,...` or JSON as a map from component to parts per billion."""
    if not isinstance(value, str):
        return value
    text = value.strip().strip("{}").replace('"', "").replace(":", "=")
    pairs = [part.partition("=") for part in text.split(",")]
    if sorted(name.strip() for name, _, _ in pairs) != sorted(COMPONENTS):
        raise ValueError(f"needs each of {', '.join(COMPONENTS)} once")
    found = {name.strip(): billionths(number) for name, _, number in pairs}
    return {name: found[name] for name in COMPONENTS}


def _secrets(value: object) -> object:
    values = (value,) if isinstance(value, str) else value
    if isinstance(values, tuple) and any(len(each) < SHORTEST_SECRET for each in values):
        raise ValueError(f"each needs at least {SHORTEST_SECRET} characters")
    return values


def _blank_is_none(value: object) -> object:
    return None if value == "" else value


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `host:port`; an IPv6 host stands in brackets."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError("needs host:port, such as 127.0.0.1:50151")
    return host.strip("[]"), int(port)


def _address(value: object) -> object:
    if isinstance(value, str):
        split_address(value)
    return value


def _database_url(value: object) -> object:
    if isinstance(value, str) and not value.startswith(("postgresql://", "postgres://")):
        raise ValueError("needs postgresql://user:password@host:port/database")
    return value


Billionths = Annotated[int, BeforeValidator(billionths)]
Address = Annotated[str, BeforeValidator(_address)]
Percent = Annotated[Decimal, Field(ge=0, le=100)]
DatabaseUrl = Annotated[SecretStr, BeforeValidator(_database_url)]
Secrets = Annotated[tuple[SecretStr, ...], BeforeValidator(_secrets)]


def _named(name: str, default: Any = ..., **bounds: Any) -> Any:
    return Field(default, validation_alias=name, **bounds)


class Settings(BaseSettings):
    """Every setting of the server, under its environment variable's name."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, hide_input_in_errors=True
    )

    database_url: DatabaseUrl = _named("DATABASE_URL")
    """PostgreSQL >= 16 with pgvector."""
    database_replica_url: Annotated[DatabaseUrl | None, BeforeValidator(_blank_is_none)] = _named(
        "DATABASE_REPLICA_URL", None
    )
    """A read replica; unset: all reads go to DATABASE_URL."""
    max_connections: int = _named("PGMAXCONNECTIONS", 8, ge=2, le=200)
    """Connections of this process to the database."""
    anonymous_role: Literal["none", "viewer", "operator", "admin", "adapter"] = _named(
        "ORCA_ANONYMOUS_ROLE", "none"
    )
    """Role of calls without a token."""
    jwt_secrets: Secrets = _named("JWT_SECRET", (), validate_default=True)
    """Keys of tokens; the last one signs."""
    hmac_secrets: Secrets = _named("HMAC_SECRET", ())
    """Keys of webhook signatures; the last one signs."""
    otlp_endpoint: str = _named("OTEL_EXPORTER_OTLP_ENDPOINT", "")
    """Where spans go; empty: nowhere."""
    trace_sample_ratio: float = _named("ORCA_TRACE_SAMPLE_RATIO", 0.05, ge=0, le=1)
    """Share of traces that are recorded when the caller did not decide."""
    mcp_registry_path: Annotated[Path | None, BeforeValidator(_blank_is_none)] = _named(
        "MCP_REGISTRY_PATH", None
    )
    """The MCP registry file; unset: none."""
    trust_score_baseline_ppb: Billionths = _named("TRUST_SCORE_BASELINE", 850_000_000, ge=0, le=PPB)
    """Success rate that is assumed before anything is known, parts per billion."""
    risk_baseline_cost_nano_usd: Billionths = _named(
        "RISK_BASELINE_COST_USD", 10_000 * PPB, ge=0, le=10**9 * PPB
    )
    """Cost of an agent at no trust against one at full trust, nano-dollars."""
    sync_freshness_slo_hours: Decimal = _named(
        "SYNC_FRESHNESS_SLO_HOURS", Decimal(24), gt=0, le=8784
    )
    """Hours after which a workflow without a deadline of its own is stale."""
    violation_clean_hours: Decimal = _named(
        "ORCA_VIOLATION_CLEAN_HOURS", Decimal(24), gt=0, le=8784
    )
    """Hours that an agent works without another violation of a rule until it is resolved."""
    drift_threshold_pct: Percent = _named("DRIFT_THRESHOLD_PCT", Decimal(5))
    """Drift rate above which the fleet is drifting."""
    compliance_sla_target_pct: Percent = _named("COMPLIANCE_SLA_TARGET_PCT", Decimal("99.5"))
    """Share of operations without violation that is aimed at."""
    enable_self_healing: bool = _named("ENABLE_SELF_HEALING", False)
    """Whether healing may act by itself."""
    trust_weights_ppb: Annotated[dict[str, int], BeforeValidator(_weights)] = _named(
        "ORCA_TRUST_WEIGHTS", WEIGHTS, validate_default=True
    )
    """Weight of each component, parts per billion, in their order; they sum to 1."""
    grpc_address: Address = _named("ORCA_GRPC_ADDRESS", "127.0.0.1:50151")
    """Where gRPC is served; port 0 takes a free one."""
    metrics_address: Address = _named("ORCA_METRICS_ADDRESS", "127.0.0.1:9464")
    """Where Prometheus finds /metrics; port 0 takes a free one."""
    telemetry_retention_days: int = _named("ORCA_TELEMETRY_RETENTION_DAYS", 90, ge=1, le=3650)
    """Days for which telemetry and events are kept."""
    ingest_queue_records: int = _named("ORCA_INGEST_QUEUE_RECORDS", 100_000, ge=1_000)
    """Records of telemetry, and as many events, that may wait for a batch."""
    ingest_queue_bytes: int = _named("ORCA_INGEST_QUEUE_BYTES", 64 * 2**20, ge=16 * 2**20)
    """Bytes of telemetry, and as many of events, that may wait for a batch."""
    drain_seconds: float = _named("ORCA_DRAIN_SECONDS", 20.0, ge=0, le=3600)
    """Grace for calls in flight when the server stops."""
    unhealthy_after_seconds: float = _named("ORCA_UNHEALTHY_AFTER_SECONDS", 3.0, ge=0, le=600)
    """Time in which a gateway notices NOT_SERVING: health interval x threshold."""
    log_level: Literal["debug", "info", "warning", "error"] = _named("ORCA_LOG_LEVEL", "info")
    """Least level that is logged."""
    tick_seconds: float = _named("ORCA_TICK_SECONDS", 1.0, ge=0.05, le=3600)
    """Shortest interval of trust ticks."""

    @field_validator("jwt_secrets")
    @classmethod
    def _someone_gets_in(
        cls, secrets: tuple[SecretStr, ...], info: ValidationInfo
    ) -> tuple[SecretStr, ...]:
        if not secrets and info.data.get("anonymous_role") == "none":
            raise ValueError(
                "nobody could call: set it to 32 characters or more, "
                "or ORCA_ANONYMOUS_ROLE to another role than none"
            )
        return secrets

    @field_validator("trust_weights_ppb")
    @classmethod
    def _weights_sum_to_one(cls, weights: dict[str, int]) -> dict[str, int]:
        if tuple(weights) != COMPONENTS or min(weights.values()) < 0:
            raise ValueError(f"needs {', '.join(COMPONENTS)}, none negative")
        if sum(weights.values()) != PPB:
            raise ValueError(f"sum to {Decimal(sum(weights.values())) / PPB}, not to 1")
        return weights

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then the environment with the file: read together, see above."""
        return init_settings, _EnvironmentAndFile(settings_cls)


class _EnvironmentAndFile(PydanticBaseSettingsSource):
    """The environment over the `.env` file, with repeated secrets as tuples."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        raise AssertionError("__call__ reads all fields at once")

    def __call__(self) -> dict[str, Any]:
        lines = list(_file_lines(os.environ))
        known = {field.validation_alias for field in self.settings_cls.model_fields.values()}
        values = {**dict(lines), **os.environ}
        found: dict[str, Any] = {
            name: values[name] for name in known if isinstance(name, str) and name in values
        }
        for name in REPEATABLE & found.keys():
            spoken = [os.environ.get(name, ""), *(value for key, value in lines if key == name)]
            found[name] = tuple(dict.fromkeys(value for value in spoken if value))
        return found


def _file_lines(environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Names and values of the file ORCA_ENV_FILE names, else of `.env` here, if any.

    Raises:
        BadSettings: If the file cannot be read or a line of it is not NAME=value.
    """
    named = environment.get("ORCA_ENV_FILE")
    path = Path(named or ".env")
    if not named and not path.exists():
        return
    try:
        with path.open(encoding="utf-8") as stream:
            bindings = list(parse_stream(stream))
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettings(f"{path}: cannot be read: {error}") from error
    for binding in bindings:
        if binding.error:
            raise BadSettings(f"{path}, line {binding.original.line}: is not NAME=value")
        if binding.key is not None and binding.value is not None:
            yield binding.key, binding.value


def load(**given: str) -> Settings:
    """The settings of this process.

    Args:
        given: Settings by variable name, over environment and file.

    Raises:
        BadSettings: Names every setting that is missing or wrong.
    """
    try:
        return Settings(**given)  # type: ignore[arg-type]  # they are read as the environment's are
    except ValidationError as error:
        lines = (_explained(fault) for fault in error.errors(include_input=False))
        raise BadSettings("\n".join(lines)) from None  # the cause would show secrets


def _explained(fault: Any) -> str:
    place = str(fault["loc"][0]) if fault["loc"] else "settings"
    aliases = {field.validation_alias: field for field in Settings.model_fields.values()}
    # A default's fault is told by its field, others by the variable.
    field = Settings.model_fields.get(place) or aliases.get(place)
    name = str(field.validation_alias) if field else place
    if fault["type"] == "missing":
        return f"{name}: is not set"
    if field and fault["type"] in OUTSIDE:
        return f"{name}: must {_bounds(field)}"
    return f"{name}: {fault['msg'].removeprefix('Value error, ')}"


def _bounds(field: FieldInfo) -> str:
    """What a number's bounds are, in the unit in which it is typed."""
    exact = any(getattr(each, "func", None) is billionths for each in field.metadata)
    scale = PPB if exact else 1
    found = {
        type(each).__name__: f"{Decimal(str(getattr(each, key))) / scale:f}"
        for each in field.metadata
        for key in ("ge", "gt", "le", "lt")
        if hasattr(each, key)
    }
    if "Ge" in found and "Le" in found:
        return f"lie within {found['Ge']} and {found['Le']}"
    return f"be {found['Ge']} or more" if "Ge" in found else f"be more than {found['Gt']}"
