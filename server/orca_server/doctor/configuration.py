"""Checks of the settings: are they usable, who gets in, and are the secrets secret?"""

import ipaddress
import math
import os
from collections import Counter
from pathlib import Path
from urllib.parse import unquote, urlsplit

from orca_server.doctor.findings import Finding, fail, ok, skipped, warn
from orca_server.doctor.situation import Situation
from orca_server.settings import Settings, split_address

LEAST_BITS = 80.0
"""A secret whose letters say less than this is guessed sooner than a key."""
PLACEHOLDERS = ("changeme", "change-me", "change_me", "example", "password", "secret", "your-")
"""What stands in examples, and is replaced too seldom."""
USUAL = frozenset({"admin", "orca", "pass", "postgres", "postgresql", "test"})
"""Passwords that everybody tries first."""


def check(seen: Situation, served_role: str | None = None) -> list[Finding]:
    """All checks of the settings.

    Args:
        seen: The situation.
        served_role: Role of calls without a token as the server says; None if it was not asked.
    """
    return [_settings(seen), _access(seen, served_role), _secrets(seen), _rotation(seen)]


def env_file() -> str:
    """The file of settings that is read, as people name it."""
    return os.environ.get("ORCA_ENV_FILE") or ".env"


def _settings(seen: Situation) -> Finding:
    read = _where(seen)
    if not seen.faults:
        return ok("settings", f"all can be used ({read})")
    names = [fault.partition(":")[0] for fault in seen.faults]
    if "DATABASE_URL" in names and not seen.state:
        cause = f"nothing is set yet: {read}, and `orca up` never ran in {_folder(seen)}"
        mend = f"orca up, or set DATABASE_URL and JWT_SECRET in {env_file()}"
    else:
        cause = f"a mistyped value ({read}); a server that starts now refuses it"
        mend = f"correct {', '.join(dict.fromkeys(names))} in {env_file()} or the environment"
    return fail("settings", "; ".join(seen.faults), cause, mend)


def _where(seen: Situation) -> str:
    path = Path(env_file())
    file = f"{path} and the environment" if path.is_file() else f"the environment, no {path}"
    return f"{file}, over the settings of `orca up`" if seen.is_stack else file


def _folder(seen: Situation) -> str:
    return str(seen.data.path) if seen.data else "a data folder"


def _access(seen: Situation, served_role: str | None) -> Finding:
    """Open or closed: as the server says that runs, else as these settings would have it."""
    settings = seen.settings
    if settings is None or not (seen.database_url or served_role):
        return skipped("access", "no server is set up by these settings")
    role = served_role or settings.anonymous_role
    if role == "none":
        return ok("access", "closed: each call needs a token")
    found = f"open: a call without a token acts as {role}"
    if seen.is_stack:
        return ok("access", f"{found}; the ports are open to this machine alone")
    if _is_loopback(settings) and all(each.is_local for each in seen.addresses):
        return ok("access", f"{found}; ORCA_GRPC_ADDRESS is open to this machine alone")
    return warn(
        "access",
        f"{found}, at {seen.addresses[0].target if seen.addresses else settings.grpc_address}",
        "ORCA_ANONYMOUS_ROLE lets in everybody who reaches the port",
        f"ORCA_ANONYMOUS_ROLE=none in {env_file()}, then: orca tokens create --role operator "
        "--ttl 30d",
    )


def _is_loopback(settings: Settings) -> bool:
    host, _ = split_address(settings.grpc_address)
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _secrets(seen: Situation) -> Finding:
    if seen.settings is None or not seen.database_url:
        return skipped("secrets", "no server is set up by these settings")
    weak = {name: weakness for name, value in _spoken(seen) if (weakness := weakness_of(value))}
    if not seen.is_stack and (weakness := _password_weakness(seen.database_url)):
        weak["DATABASE_URL"] = weakness
    if not weak:
        return ok("secrets", "none is a default or easily guessed")
    name = next(iter(weak))
    mend = (
        "psql -c \"ALTER ROLE ... PASSWORD '...'\", then the new one in DATABASE_URL"
        if name == "DATABASE_URL"
        else f'echo "{name}=$(openssl rand -hex 32)" >> {env_file()}'
    )
    return warn(
        "secrets",
        "; ".join(f"{name} {weakness}" for name, weakness in weak.items()),
        "taken over from an example, or typed by hand",
        mend,
    )


def _spoken(seen: Situation) -> list[tuple[str, str]]:
    """The secrets that sign or signed, by setting."""
    assert seen.settings is not None  # noqa: S101 - who calls asked
    refused = {fault.partition(":")[0] for fault in seen.faults}
    secrets = {"JWT_SECRET": seen.settings.jwt_secrets, "HMAC_SECRET": seen.settings.hmac_secrets}
    return [
        (name, each.get_secret_value())
        for name, values in secrets.items()
        if name not in refused
        for each in values
    ]


def weakness_of(secret: str) -> str:
    """Why a secret is none, without a letter of it; empty if it is one."""
    lowered = secret.lower()
    if any(each in lowered for each in PLACEHOLDERS):
        return "looks like the placeholder of an example"
    if bits_of(secret) < LEAST_BITS:
        return "has too few different letters"
    return ""


def bits_of(secret: str) -> float:
    """What its letters say at most, in bits: their entropy, times the length of its period."""
    counts = Counter(secret)
    entropy = -sum(n / len(secret) * math.log2(n / len(secret)) for n in counts.values())
    period = (secret + secret).find(secret, 1) if secret else 0
    return entropy * period


def _password_weakness(url: str) -> str:
    parts = urlsplit(url)
    if not parts.password:
        return ""  # by .pgpass, a certificate or the socket's peer
    password = unquote(parts.password).lower()
    usual = {*USUAL, (parts.username or "").lower()}
    if password in usual or any(each in password for each in PLACEHOLDERS):
        return "has a password that everybody tries first"
    return ""


def _rotation(seen: Situation) -> Finding:
    if seen.settings is None:
        return skipped("rotation", "the settings cannot be read")
    secrets = {"JWT_SECRET": seen.settings.jwt_secrets, "HMAC_SECRET": seen.settings.hmac_secrets}
    several = {name: len(values) for name, values in secrets.items() if len(values) > 1}
    if not _spoken(seen):
        return skipped("rotation", "no secret is set")
    if not several:
        return ok("rotation", "each secret has one value")
    return warn(
        "rotation",
        "; ".join(
            f"{name} has {count} values: all are valid, the last signs"
            for name, count in several.items()
        ),
        "a secret was replaced, and the old lines stayed; restart the server once if it was not",
        f"when the old tokens have expired, remove the older lines of {_names(several)} "
        f"from {_sources(seen, several)}",
    )


def _names(several: dict[str, int]) -> str:
    return " and ".join(several)


def _sources(seen: Situation, several: dict[str, int]) -> str:
    spoken = any(os.environ.get(name) for name in several)
    return f"{env_file()} and the environment" if spoken else env_file()
