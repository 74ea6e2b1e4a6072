"""Where the server is, and how a channel to it is made."""

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import grpc

from orca.errors import ConfigurationError

ADDRESS_VARIABLE = "ORCA_ADDRESS"
DEFAULT_ADDRESS = "localhost:50051"
DEFAULT_PORT = 50051
HTTPS_PORT = 443
MAX_MESSAGE_BYTES = 32 * 1024 * 1024
"""The largest answer that is read; the server's own limit is half of it."""

# Deleting is not idempotent, a stream is repeated by its helper, and to GetHealth
# UNAVAILABLE is an answer.
_NOT_RETRIED = (
    ("orca.v1.AgentService", "DeleteAgent"),
    ("orca.v1.AgentService", "StreamTelemetry"),
    ("orca.v1.WorkflowService", "DeleteWorkflow"),
    ("orca.v1.WorkflowService", "StreamEvents"),
    ("orca.v1.SystemService", "GetHealth"),
)


@dataclass(frozen=True, slots=True)
class Address:
    """A server's address.

    Attributes:
        target: As grpc reads it, such as `localhost:50051`.
        host: Its host alone; empty for a socket file.
        tls: Whether the connection is encrypted.
    """

    target: str
    host: str
    tls: bool

    @property
    def is_local(self) -> bool:
        """Whether what is sent stays on this machine."""
        if not self.host or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_address(text: str, tls: bool | None = None) -> Address:
    """The address that a person wrote.

    Args:
        text: `HOST[:PORT]`, `http://HOST[:PORT]`, `https://HOST[:PORT]` or `unix:PATH`.
            Without a port: 443 with TLS, else 50051.
        tls: Encrypt or not; None: as the scheme says, plain without one.

    Raises:
        ConfigurationError: If it is none of these (`ADDRESS_INVALID`).
    """
    if text.startswith("unix:"):
        return Address(text, "", bool(tls))
    url = urlsplit(text if "://" in text else f"//{text}")
    try:
        host, port = url.hostname, url.port
    except ValueError:
        host, port = None, None
    if not host or url.scheme not in ("", "http", "https") or url.path not in ("", "/"):
        raise ConfigurationError(
            f"'{text}' is no address: write HOST:PORT or https://HOST.",
            reason="ADDRESS_INVALID",
            metadata={"address": text},
        )
    encrypted = url.scheme == "https" if tls is None else tls
    port = port or (HTTPS_PORT if encrypted else DEFAULT_PORT)
    shown = f"[{host}]" if ":" in host else host
    return Address(f"{shown}:{port}", host, encrypted)


def service_config(max_attempts: int = 5) -> str:
    """The service config: which calls grpc repeats, when, and how often.

    Args:
        max_attempts: Attempts of one call, 2 to 5 (grpc's own limit); 1 means no retries.
    """
    policy: dict[str, object] = {
        "maxAttempts": max_attempts,
        "initialBackoff": "0.2s",
        "maxBackoff": "3s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
    }
    retried: Mapping[str, object] = {"retryPolicy": policy} if max_attempts > 1 else {}
    once = [{"service": service, "method": method} for service, method in _NOT_RETRIED]
    return json.dumps({"methodConfig": [{"name": [{}], **retried}, {"name": once}]})


def open_channel(
    address: Address, *, ca_file: Path | None = None, max_attempts: int = 5
) -> grpc.aio.Channel:
    """A channel to the address; nothing is sent before the first call.

    Args:
        address: Where to.
        ca_file: Certificates to trust, PEM; None: those that grpc brings.
        max_attempts: Attempts of one call.
    """
    options = [
        ("grpc.service_config", service_config(max_attempts)),
        ("grpc.enable_retries", 1),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        # A proxy of the environment cannot reach this machine's loopback.
        ("grpc.enable_http_proxy", 0 if address.is_local else 1),
    ]
    if not address.tls:
        return grpc.aio.insecure_channel(address.target, options=options)
    return grpc.aio.secure_channel(address.target, _credentials(ca_file), options=options)


def _credentials(ca_file: Path | None) -> grpc.ChannelCredentials:
    if ca_file is None:
        return grpc.ssl_channel_credentials()
    try:
        return grpc.ssl_channel_credentials(ca_file.read_bytes())
    except OSError as error:
        raise ConfigurationError(
            f"The certificates in {ca_file} cannot be read: {error}", reason="CA_FILE_UNREADABLE"
        ) from error
