"""The client: one channel to one server, and a part for each noun."""

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from orca.address import ADDRESS_VARIABLE, DEFAULT_ADDRESS, Address, open_channel, parse_address
from orca.agents import Agents
from orca.calls import Calls
from orca.credentials import TokenSource, find_token
from orca.errors import ConfigurationError
from orca.events import Events
from orca.findings import Drift, Violations
from orca.registry import Registry
from orca.reports import Reports
from orca.runs import Runs
from orca.system import System
from orca.telemetry import Telemetry
from orca.trust import Trust
from orca.workflows import Workflows

DEFAULT_TIMEOUT_SECONDS = 10.0


class Client:
    """A connection to one server. Use `connect` to make it, and `async with` to close it.

    Attributes:
        address: Where the server is.
        agents: The inventory of agents.
        telemetry: What agents did.
        violations: Policy violations that agents report.
        drift: How agents differ from what was accepted.
        workflows: The inventory of what runs by itself.
        events: What happened to the runs of workflows.
        runs: What those events come to.
        registry: Registries of MCP servers.
        trust: How far the fleet may be trusted.
        reports: The state of the fleet for people.
        system: The server's own health and status.
    """

    def __init__(self, address: Address, calls: Calls) -> None:
        """Made by `connect`."""
        self.address = address
        self._channel = calls.channel
        self.agents = Agents(calls)
        self.telemetry = Telemetry(calls)
        self.workflows = Workflows(calls)
        self.violations = Violations(calls)
        self.drift = Drift(calls)
        self.events = Events(calls)
        self.runs = Runs(calls)
        self.registry = Registry(calls)
        self.trust = Trust(calls)
        self.reports = Reports(calls)
        self.system = System(calls)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the channel; calls under way are cancelled."""
        await self._channel.close()


def connect(
    address: str | None = None,
    *,
    token: str | None = None,
    token_file: str | os.PathLike[str] | None = None,
    tls: bool | None = None,
    ca_file: str | os.PathLike[str] | None = None,
    insecure: bool = False,
    timeout: float = DEFAULT_TIMEOUT_SECONDS,
    max_attempts: int = 5,
) -> Client:
    """A client, which connects with its first call. Make it inside of the event loop.

        async with orca.connect() as client:
            print((await client.trust.get()).trust_score)

    Args:
        address: `HOST:PORT`, or `https://HOST` for TLS; None: ORCA_ADDRESS, else
            `localhost:50051`.
        token: Token to send; None: from `token_file`, ORCA_TOKEN or ORCA_TOKEN_FILE.
        token_file: File that holds it; it is read again when it changes.
        tls: Encrypt or not; None: as the address says.
        ca_file: Certificates to trust, PEM; None: the public ones.
        insecure: Let the token travel unencrypted to another machine.
        timeout: Deadline of a call that names none, in seconds, retries included.
        max_attempts: Attempts of one call that may be repeated, 1 to 5.

    Raises:
        ConfigurationError: If the address or the certificates cannot be used, or if a token
            would travel unencrypted to another machine (`TOKEN_NEEDS_TLS`).
    """
    where = parse_address(address or os.environ.get(ADDRESS_VARIABLE) or DEFAULT_ADDRESS, tls)
    tokens = find_token(token, token_file)
    _refuse_plain_token(where, tokens, insecure)
    certificates = Path(ca_file) if ca_file is not None else None
    channel = open_channel(where, ca_file=certificates, max_attempts=max_attempts)
    return Client(where, Calls(channel, tokens, timeout))


def _refuse_plain_token(address: Address, tokens: TokenSource, insecure: bool) -> None:
    if not tokens or address.tls or address.is_local or insecure:
        return
    raise ConfigurationError(
        f"The token would travel unencrypted to {address.target}: use https://{address.host}, "
        "or say that this is meant (insecure).",
        reason="TOKEN_NEEDS_TLS",
        metadata={"address": address.target},
    )
