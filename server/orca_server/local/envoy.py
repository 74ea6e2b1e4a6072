"""Envoy in front of the server: its configuration from the template, its checks, its admin port."""

import contextlib
import http.client
import importlib.util
import json
import os
import re
import socket
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import orca_server
from orca_server.local.descriptors import read_contract
from orca_server.local.errors import LocalError
from orca_server.local.program import Program

LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")
"""Names under which a gateway on this machine may be called, with any port."""
BUFFER_BYTES = 16 * 1024 * 1024
DRAIN_SECONDS = 2
PLACEHOLDER = re.compile(r"\$\{([A-Z_]+)\}")
HOST = re.compile(r"\*|[a-z0-9._-]+|\[[0-9a-f:.]+\]")

Value = str | int | list[str]


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """Where the gateway listens, whom it asks, and as whom it may be called."""

    rest_port: int
    grpc_port: int
    upstream_port: int
    upstream_host: str = "127.0.0.1"
    """A name is asked for all its addresses: each is a replica."""
    listen_address: str = "127.0.0.1"
    allowed_hosts: tuple[str, ...] = ()
    """Host names besides those of this machine; `*` allows any."""
    unary_timeout_seconds: int = 30
    """Longest time for a call that is no stream."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """A configuration on disk, and the Envoy that runs it."""

    program: Program
    admin_socket: Path

    def admin(self, method: str, path: str) -> str:
        """What Envoy's admin interface answers.

        Raises:
            OSError: If Envoy does not run.
        """
        connection = _UnixConnection(self.admin_socket)
        with contextlib.closing(connection):
            connection.request(method, path)
            return connection.getresponse().read().decode()

    def upstream_is_healthy(self) -> bool:
        """Whether Envoy runs and has a server to send requests to."""
        try:
            status = json.loads(self.admin("GET", "/clusters?format=json"))
        except (OSError, http.client.HTTPException):
            return False
        hosts = [host for each in status["cluster_statuses"] for host in each["host_statuses"]]
        return any(host["health_status"] == {"eds_health_status": "HEALTHY"} for host in hosts)

    def stop_listening(self) -> None:
        """Takes no new connections and asks the present ones to go; requests go on.

        Raises:
            OSError: If Envoy does not run.
        """
        self.admin("POST", "/drain_listeners?graceful&skip_exit")

    def active_requests(self) -> int:
        """Requests and streams that are being answered.

        Raises:
            OSError: If Envoy does not run.
        """
        path = "/stats?format=json&filter=%5Ehttp%5C.(rest%7Cgrpc)%5C.downstream_rq_active%24"
        stats = json.loads(self.admin("GET", path))["stats"]
        return sum(int(each["value"]) for each in stats if "value" in each)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=5)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def allowed_hosts(text: str) -> tuple[str, ...]:
    """The names in ORCA_ALLOWED_HOSTS, a list with commas.

    Raises:
        LocalError: If one is no host name.
    """
    names = tuple(name.strip().lower() for name in text.split(",") if name.strip())
    for name in names:
        if not HOST.fullmatch(name):
            raise LocalError(f"ORCA_ALLOWED_HOSTS: {name!r} is no host name (without a port) or *")
    return names


def prepare(settings: GatewaySettings, folder: Path, socket_folder: Path, log: Path) -> Gateway:
    """Writes configuration and descriptors into the folder and has Envoy check them.

    Raises:
        LocalError: If Envoy is not installed, or finds the configuration wrong.
    """
    admin_socket = socket_folder / "envoy.sock"
    configuration = write_configuration(settings, folder, admin_socket)
    envoy = find_envoy()
    check = subprocess.run(
        [envoy, "--mode", "validate", "--log-level", "error", "-c", configuration],
        capture_output=True,
        text=True,
        check=False,
    )
    if check.returncode != 0:
        raise LocalError(f"Envoy refuses {configuration}: {check.stderr.strip()[-2000:]}")
    return Gateway(
        program=Program(
            name="gateway",
            argv=(
                *(str(envoy), "-c", str(configuration), "--log-level", "warning"),
                *("--disable-hot-restart", "--concurrency", str(min(os.cpu_count() or 1, 4))),
                *("--drain-time-s", str(DRAIN_SECONDS), "--drain-strategy", "immediate"),
            ),
            log=log,
            environment={"PATH": os.environ.get("PATH", os.defpath)},
            stop_seconds=10.0,
        ),
        admin_socket=admin_socket,
    )


def write_configuration(settings: GatewaySettings, folder: Path, admin_socket: Path) -> Path:
    """The path of a complete configuration, written with its descriptor set."""
    contract = read_contract()
    folder.mkdir(parents=True, exist_ok=True)
    descriptors = folder / "orca.binpb"
    descriptors.write_bytes(contract.descriptor_set)
    hosts = (*LOCAL_HOSTS, *settings.allowed_hosts)
    door_values = {
        "ALLOWED_HOSTS": _lua(hosts),
        "BUFFER_BYTES": BUFFER_BYTES,
        "GRPC_PORT": settings.grpc_port,
        "REST_PORT": settings.rest_port,
    }
    values: dict[str, Value] = {
        "ADMIN_SOCKET": str(admin_socket),
        "BUFFER_BYTES": BUFFER_BYTES,
        "DESCRIPTORS": str(descriptors),
        "DOOR": _fill((template_folder() / "door.lua").read_text("utf-8"), door_values),
        "GRPC_PORT": settings.grpc_port,
        "LISTEN_ADDRESS": settings.listen_address,
        "REST_PORT": settings.rest_port,
        "SERVICES": list(contract.services),
        "STREAM_PATHS": contract.stream_paths,
        "UNARY_TIMEOUT_SECONDS": settings.unary_timeout_seconds,
        "UPSTREAM_HOST": settings.upstream_host,
        "UPSTREAM_PORT": settings.upstream_port,
    }
    template = yaml.safe_load((template_folder() / "envoy.yaml").read_text("utf-8"))
    path = folder / "envoy.json"
    path.write_text(json.dumps(_render(template, values), indent=1), encoding="utf-8")
    return path


def template_folder() -> Path:
    """The folder gateway/, in the repository or in the installed package."""
    package = Path(orca_server.__file__).parent
    for folder in (package.parent.parent / "gateway", package / "gateway"):
        if (folder / "envoy.yaml").is_file():
            return folder
    raise LocalError("gateway/envoy.yaml is missing from this installation: install it again.")


def find_envoy() -> Path:
    """Envoy's program, from its wheel.

    Raises:
        LocalError: If it is not installed.
    """
    spec = importlib.util.find_spec("envoy")
    path = Path(spec.origin).parent / "_bin" / "envoy" if spec and spec.origin else None
    if path is None or not path.is_file():
        raise LocalError(
            "Envoy is not installed: `pip install 'orca-agentmesh[server,local]'` brings it."
        )
    return path


def _render(node: Any, values: Mapping[str, Value]) -> Any:
    if isinstance(node, dict):
        return {key: _render(value, values) for key, value in node.items()}
    if isinstance(node, list):
        return [_render(value, values) for value in node]
    if not isinstance(node, str):
        return node
    whole = PLACEHOLDER.fullmatch(node)  # then the value keeps its type
    return values[whole[1]] if whole else _fill(node, values)


def _fill(text: str, values: Mapping[str, object]) -> str:
    return PLACEHOLDER.sub(lambda found: str(values[found[1]]), text)


def _lua(hosts: Iterable[str]) -> str:
    return ", ".join(f'["{host}"] = true' for host in hosts)
