"""An encrypted connection, to a server whose certificate must be known."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import orca
from orca.v1 import system_service_pb2, system_service_pb2_grpc


class _System(system_service_pb2_grpc.SystemServiceServicer):
    """Tells which token it was sent."""

    async def GetStatus(self, request: object, context: grpc.aio.ServicerContext) -> object:  # noqa: N802
        token = dict(context.invocation_metadata() or ())["authorization"]
        return system_service_pb2.Status(instance=token)

    async def GetHealth(self, request: object, context: object) -> object:  # noqa: N802
        return system_service_pb2.Health()


def _self_signed() -> tuple[bytes, bytes]:
    """A key and a certificate for localhost, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return pem, certificate.public_bytes(serialization.Encoding.PEM)


@pytest.fixture
async def encrypted(tmp_path: Path) -> AsyncIterator[tuple[str, Path]]:
    """The address of an encrypted server, and the file with its certificate."""
    key, certificate = _self_signed()
    path = tmp_path / "ca.pem"
    path.write_bytes(certificate)
    server = grpc.aio.server()
    system_service_pb2_grpc.add_SystemServiceServicer_to_server(_System(), server)
    credentials = grpc.ssl_server_credentials([(key, certificate)])
    port = server.add_secure_port("localhost:0", credentials)
    await server.start()
    yield f"https://localhost:{port}", path
    await server.stop(0)


async def test_a_token_travels_encrypted(encrypted: tuple[str, Path]) -> None:
    address, ca_file = encrypted
    async with orca.connect(address, token="secret", ca_file=ca_file) as client:
        assert (await client.system.status()).instance == "Bearer secret"


async def test_an_unknown_certificate_is_refused(encrypted: tuple[str, Path]) -> None:
    address, _ = encrypted
    async with orca.connect(address, token="secret", max_attempts=1) as client:
        with pytest.raises(orca.Unavailable):
            await client.system.status()


async def test_a_plain_client_does_not_get_through(encrypted: tuple[str, Path]) -> None:
    address, _ = encrypted
    plain = address.replace("https", "http")
    async with orca.connect(plain, token="secret", max_attempts=1) as client:
        with pytest.raises(orca.Unavailable):
            await client.system.status()
