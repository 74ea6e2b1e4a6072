"""Ports of this machine: whether they are free, and who has them."""

import contextlib
import socket
from collections.abc import Mapping

import psutil

from orca_server.local.errors import LocalError

ADDRESS = "127.0.0.1"


def demand_free(ports: Mapping[str, int]) -> None:
    """Returns if all ports are free.

    Args:
        ports: The setting that chooses a port, and the port.

    Raises:
        LocalError: Names each busy port, who has it and the setting; or two settings that agree.
    """
    faults = [fault for setting, port in ports.items() if (fault := _fault(setting, port))]
    for port in sorted(set(ports.values())):
        names = [setting for setting, other in ports.items() if other == port]
        if len(names) > 1:
            faults.append(f"{' and '.join(names)} are both {port}: give each its own.")
    if faults:
        raise LocalError("\n".join(faults))


def free_port(preferred: int) -> int:
    """The preferred port if it is free, else one that is."""
    for port in (preferred, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((ADDRESS, port))
            taken: int = probe.getsockname()[1]
            return taken
    raise LocalError(f"no port of {ADDRESS} is free")


def answers(port: int) -> bool:
    """Whether something listens on the port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((ADDRESS, port)) == 0


def _fault(setting: str, port: int) -> str:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except PermissionError:
            return f"port {port} needs root: set {setting} to one above 1023."
        except OSError:
            return (
                f"port {port} is in use by {_holder(port)}: stop that, "
                f"or set {setting} to another port."
            )
    return ""


def _holder(port: int) -> str:
    """Who listens on the port, as far as we may know."""
    found = listener(port)
    return f"{found[1]} (pid {found[0]})" if found else "a process of another user"


def listener(port: int) -> tuple[int, str] | None:
    """Process id and name of who listens on the port; None if nobody does, or we may not know."""
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections(kind="tcp"):
            listening = connection.status == psutil.CONN_LISTEN
            here = connection.laddr and connection.laddr.port == port
            if listening and here and connection.pid:
                return connection.pid, psutil.Process(connection.pid).name()
    return None
