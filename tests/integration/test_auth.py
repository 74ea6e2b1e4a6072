"""Tokens from their making to their revocation, by the command, against a real server."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator

import grpc
import jwt
import pytest

import orca_server
from orca.v1 import system_service_pb2 as pb
from orca.v1.system_service_pb2_grpc import SystemServiceStub
from orca_server.domain.access import DEFAULT_TENANT
from orca_server.services.authentication import Authenticator, sign
from orca_server.store.database import Database
from tests.serving import (
    SECRET,
    info_of,
    reason_of,
    running_server,
    settings_for,
    token_for,
    wait_until_ready,
)

OTHER = "another-secret-of-the-tests-0123456789"
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED


@pytest.fixture
async def closed(database_url: str) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a server that lets nobody in without a token; two secrets are valid."""
    settings = settings_for(database_url, anonymous_role="none", jwt_secrets=(SECRET, OTHER))
    async with (
        running_server(settings) as addresses,
        grpc.aio.insecure_channel(addresses.grpc) as channel,
    ):
        await wait_until_ready(channel)
        yield channel


async def status(channel: grpc.aio.Channel, token: str, scheme: str = "Bearer") -> pb.Status:
    metadata = (("authorization", f"{scheme} {token}"),)
    found: pb.Status = await SystemServiceStub(channel).GetStatus(
        pb.GetStatusRequest(), metadata=metadata
    )
    return found


async def call_again_and_again(channel: grpc.aio.Channel, token: str) -> None:
    async with asyncio.timeout(20):
        while True:
            await status(channel, token)
            await asyncio.sleep(0.1)


async def refusal(channel: grpc.aio.Channel, token: str) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await status(channel, token)
    return reason_of(caught.value)


def orca(database_url: str, *words: str, secret: str = SECRET) -> subprocess.CompletedProcess[str]:
    """Runs the command as an operator would."""
    environment = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": database_url,
        "JWT_SECRET": secret,
        "ORCA_ENV_FILE": os.devnull,
    }
    command = [sys.executable, "-m", "orca_server", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


async def test_a_token_lives_from_its_command_to_its_revocation(
    closed: grpc.aio.Channel, database_url: str
) -> None:
    made = orca(database_url, "tokens", "create", "--role", "viewer", "--ttl", "1h")
    assert made.returncode == 0, made.stderr
    token = made.stdout.strip()
    assert (await status(closed, token)).ready
    token_id = jwt.decode(token, options={"verify_signature": False})["jti"]
    assert token_id in orca(database_url, "tokens", "list").stdout
    assert token not in orca(database_url, "tokens", "list", "--output", "json").stdout

    revoked = orca(database_url, "tokens", "revoke", token_id)
    assert revoked.returncode == 0, revoked.stderr
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call_again_and_again(closed, token)
    assert reason_of(caught.value) == (UNAUTHENTICATED, "TOKEN_REVOKED")
    assert '"revoked"' in orca(database_url, "tokens", "list", "--output", "json").stdout


async def test_what_the_command_was_told_stands_in_the_token(database_url: str) -> None:
    words = ("--role", "adapter", "--ttl", "30d", "--subject", "mail gateway")
    made = orca(database_url, "tokens", "create", *words, "--agent", "mcp/a", "--agent", "mcp/b")
    token = made.stdout.strip()
    caller = Authenticator([SECRET]).authenticate(f"Bearer {token}")
    assert (caller.role, caller.subject) == ("adapter", "mail gateway")
    assert caller.agents == {"mcp/a", "mcp/b"}
    assert caller.tenant_id == DEFAULT_TENANT
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 30 * 86_400


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--role", "root", "--ttl", "1h"), "is one of viewer"),
        (("--role", "viewer", "--ttl", "soon"), "such as 30d"),
        (("--role", "viewer", "--ttl", "0d"), "such as 30d"),
        (("--role", "viewer", "--ttl", "99999999999999999999d"), "3650 days"),
        (("--role", "viewer"), "--ttl"),
        (("--role", "adapter", "--ttl", "1h", "--agent", "nobody"), "neither TYPE/NAME nor an id"),
        (("--role", "adapter", "--ttl", "1h", "--agent", "mcp/"), "neither TYPE/NAME nor an id"),
        (("--role", "viewer", "--ttl", "1h", "--agent", "mcp/a"), "bounds the role adapter alone"),
    ],
    ids=["role", "ttl", "no time", "for ever", "no ttl", "no agent", "no name", "no adapter"],
)
def test_a_command_that_makes_no_sense_is_refused(words: tuple[str, ...], said: str) -> None:
    done = orca("postgresql://nobody@127.0.0.1:1/none", "tokens", "create", *words)
    assert done.returncode == 2
    assert said in one_line(done.stderr)


def one_line(text: str) -> str:
    """A usage error without the box that is drawn round it."""
    return " ".join(text.replace("│", " ").split())


def test_what_is_no_id_of_a_token_is_said_in_plain_words() -> None:
    done = orca("postgresql://nobody@127.0.0.1:1/none", "tokens", "revoke", "nope")
    assert done.returncode == 2
    assert "'nope' is no id of a token; see: orca tokens list" in one_line(done.stderr)


def test_the_version_is_told() -> None:
    done = orca("", "--version")
    assert (done.returncode, done.stdout) == (0, f"orca {orca_server.__version__}\n")


def test_an_unknown_token_cannot_be_revoked(database_url: str) -> None:
    done = orca(database_url, "tokens", "revoke", "00000000-0000-4000-8000-000000000000")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no token has the id" in done.stderr


def test_without_its_database_the_command_says_so() -> None:
    done = orca("postgresql://nobody@127.0.0.1:1/none", "tokens", "list")
    assert done.returncode == 1
    assert "connection refused" in done.stderr
    assert "Traceback" not in done.stderr


async def test_tokens_of_every_secret_are_taken(closed: grpc.aio.Channel) -> None:
    for secret in (SECRET, OTHER):
        assert (await status(closed, token_for("viewer", secret=secret))).ready


async def test_the_scheme_may_be_written_in_any_case(closed: grpc.aio.Channel) -> None:
    assert (await status(closed, token_for("viewer"), scheme="bearer")).ready


async def test_no_message_repeats_a_secret_or_a_token(closed: grpc.aio.Channel) -> None:
    token = token_for("viewer", secret="a-secret-that-nobody-here-knows-012345")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await status(closed, token)
    told = f"{caught.value.details()} {info_of(caught.value)} {caught.value.trailing_metadata()}"
    assert SECRET not in told
    assert token not in told


async def test_a_tampered_token_is_refused_after_the_good_one_was_seen(
    closed: grpc.aio.Channel,
) -> None:
    token = token_for("viewer")
    await status(closed, token)
    head, body, signature = token.split(".")
    claims = jwt.decode(token, options={"verify_signature": False})
    _, admin, _ = sign(SECRET, {**claims, "role": "admin"}).split(".")
    for forged in (f"{head}.{admin}.{signature}", f"{head}.{body}.{signature[::-1]}"):
        assert await refusal(closed, forged) == (UNAUTHENTICATED, "TOKEN_INVALID")


def test_a_verdict_ends_with_its_token_and_with_its_revocation() -> None:
    clock, revoked = [1_000_000.0], set[str]()
    authenticator = Authenticator([SECRET], revoked=lambda: revoked, now=lambda: clock[0])
    claims = {"sub": "x", "role": "viewer", "iat": 999_000, "exp": 1_000_010, "jti": "7"}
    token = f"Bearer {sign(SECRET, claims)}"
    assert authenticator.authenticate(token).role == "viewer"
    clock[0] = 1_000_009.9
    assert authenticator.authenticate(token).role == "viewer"
    revoked.add("7")
    with pytest.raises(Exception, match="revoked"):
        authenticator.authenticate(token)
    revoked.clear()
    clock[0] = 1_000_010.0
    with pytest.raises(Exception, match="expired"):
        authenticator.authenticate(token)


def test_verdicts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    from orca_server.services import authentication

    monkeypatch.setattr(authentication, "MOST_VERDICTS", 10)
    authenticator = Authenticator([SECRET])
    tokens = [f"Bearer {token_for('viewer')}" for _ in range(50)]
    for token in tokens:
        authenticator.authenticate(token)
    assert len(authenticator._verdicts) <= 10
    assert all(authenticator.authenticate(token).role == "viewer" for token in tokens)


async def test_a_server_with_a_dead_database_still_checks_tokens() -> None:
    settings = settings_for("postgresql://nobody@127.0.0.1:1/none", anonymous_role="none")
    async with (
        running_server(settings) as addresses,
        grpc.aio.insecure_channel(addresses.grpc) as channel,
    ):
        assert not (await status(channel, token_for("viewer"))).ready
        assert await refusal(channel, "x.y.z") == (UNAUTHENTICATED, "TOKEN_INVALID")


async def test_revoked_tokens_of_long_ago_are_not_carried_along(database_url: str) -> None:
    from orca_server.store import tokens

    db = Database(database_url, size=1)
    async with db.connection() as connection:
        insert = (
            "INSERT INTO tokens (tenant_id, id, subject, role, expires_at, revoked_at)"
            " VALUES ($1, gen_random_uuid(), 'x', 'viewer', now() + $2 * interval '1 day', now())"
        )
        await connection.execute(insert, DEFAULT_TENANT, 1)
        await connection.execute(insert, DEFAULT_TENANT, -1)
        assert len(await tokens.list_revoked_tokens(connection)) == 1
        assert len(await tokens.list_tokens(connection, DEFAULT_TENANT)) == 2
    await db.close()
