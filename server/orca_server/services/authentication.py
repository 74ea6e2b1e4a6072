"""Who calls: tokens and the caller of the present request.

A token is a JWT (HS256) by one of the JWT_SECRETs with the claims that docs/access.md lists. A
verdict is kept until the token expires (0.7 µs instead of 40); revocation is looked up each time.
The caller of a request stands in a context variable: servicers ask `current_caller()`.
"""

import time
from collections.abc import Callable, Collection
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import jwt

from orca_server.domain.access import DEFAULT_TENANT, ROLES, Caller
from orca_server.domain.errors import Unauthenticated

ISSUER = "orca"
AUDIENCE = "orca"
ALGORITHM = "HS256"
REQUIRED_CLAIMS = ("iss", "aud", "sub", "role", "iat", "exp", "jti")
LONGEST_TOKEN = 8_192
MOST_VERDICTS = 10_000
CLOCK_SKEW_SECONDS = 10

_CALLER: ContextVar[Caller] = ContextVar("caller")


def current_caller() -> Caller:
    """Who sent the request that the present task works for.

    Raises:
        LookupError: Outside of a request.
    """
    return _CALLER.get()


def set_caller(caller: Caller) -> None:
    """Makes the caller known to the present task and those it starts."""
    _CALLER.set(caller)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A token that was found good."""

    caller: Caller
    expires_at: int
    token_id: str


class Authenticator:
    """Turns the `authorization` of a call into its caller."""

    def __init__(
        self,
        secrets: Collection[str],
        anonymous_role: str = "none",
        revoked: Callable[[], Collection[str]] = frozenset,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Keeps what it needs.

        Args:
            secrets: Keys that may have signed a token.
            anonymous_role: Role of calls without a token; `none` refuses them.
            revoked: The ids of revoked tokens, at this moment.
            now: The clock, seconds since the epoch.
        """
        self._secrets = tuple(secrets)
        self._anonymous = Caller(DEFAULT_TENANT, "anonymous", anonymous_role)
        self._revoked = revoked
        self._now = now
        self._verdicts: dict[str, Verdict] = {}

    @property
    def anonymous(self) -> Caller:
        """The caller without a token."""
        return self._anonymous

    def authenticate(self, authorization: str | None) -> Caller:
        """The caller of a call with this `authorization` metadata.

        Raises:
            Unauthenticated: If there is no token and that is not allowed, or it is not good.
        """
        if authorization is None:
            return self._without_token()
        verdict = self._verdicts.get(authorization)
        if verdict is None:
            verdict = self._remember(authorization, self._verify(authorization))
        if verdict.expires_at <= self._now():
            self._verdicts.pop(authorization, None)
            raise Unauthenticated("TOKEN_EXPIRED", "The token has expired; get a new one.")
        if verdict.token_id in self._revoked():
            raise Unauthenticated("TOKEN_REVOKED", "The token was revoked; get a new one.")
        return verdict.caller

    def _without_token(self) -> Caller:
        if self._anonymous.role == "none":
            raise Unauthenticated(
                "TOKEN_MISSING", "A token is needed: send it as 'authorization: Bearer TOKEN'."
            )
        return self._anonymous

    def _remember(self, authorization: str, verdict: Verdict) -> Verdict:
        if len(self._verdicts) >= MOST_VERDICTS:  # drops the oldest half at once, rarely
            for key in list(self._verdicts)[: MOST_VERDICTS // 2]:
                del self._verdicts[key]
        self._verdicts[authorization] = verdict
        return verdict

    def _verify(self, authorization: str) -> Verdict:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or len(token) > LONGEST_TOKEN:
            raise _invalid("the form is 'authorization: Bearer TOKEN'")
        for secret in self._secrets:
            try:
                return _verdict(_claims(token.strip(), secret))
            except jwt.InvalidSignatureError:
                continue  # another key may have signed it
        raise _invalid("no key of this server signed it")


def _claims(token: str, secret: str) -> dict[str, Any]:
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            secret,
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            issuer=ISSUER,
            leeway=CLOCK_SKEW_SECONDS,
            options={"require": list(REQUIRED_CLAIMS), "verify_exp": False},
        )
    except jwt.InvalidSignatureError:
        raise
    except jwt.InvalidTokenError as error:
        raise _invalid(str(error)) from error
    return claims


def _verdict(claims: dict[str, Any]) -> Verdict:
    """The verdict for claims whose signature, audience, issuer and presence were checked."""
    role, agents, expires_at = claims["role"], claims.get("agents"), claims["exp"]
    if role not in ROLES:
        raise _invalid("claim 'role' is no role of this server")
    if agents is not None and not (
        isinstance(agents, list) and all(isinstance(a, str) for a in agents)
    ):
        raise _invalid("claim 'agents' is no list of texts")
    if isinstance(expires_at, bool) or not isinstance(expires_at, int):
        raise _invalid("claim 'exp' is no whole number of seconds")
    try:
        tenant = UUID(claims["tenant"]) if "tenant" in claims else DEFAULT_TENANT
    except (ValueError, TypeError, AttributeError) as error:
        raise _invalid("claim 'tenant' is no UUID") from error
    bound = None if agents is None else frozenset(agents)
    return Verdict(Caller(tenant, claims["sub"], role, bound), expires_at, claims["jti"])


def _invalid(cause: str) -> Unauthenticated:
    return Unauthenticated("TOKEN_INVALID", f"The token is not valid: {cause}.", {"cause": cause})


def sign(secret: str, claims: dict[str, Any]) -> str:
    """A token with these claims, and issuer and audience."""
    return jwt.encode({"iss": ISSUER, "aud": AUDIENCE, **claims}, secret, algorithm=ALGORITHM)


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A new token and what is remembered of it."""

    token: str
    token_id: UUID
    subject: str
    role: str
    agents: tuple[str, ...]
    expires_at: datetime


def issue(
    secret: str,
    *,
    role: str,
    lifetime: timedelta,
    now: datetime,
    subject: str,
    agents: tuple[str, ...] = (),
    tenant_id: UUID = DEFAULT_TENANT,
) -> IssuedToken:
    """Signs a new token.

    Args:
        secret: The key that signs.
        role: One of ROLES.
        lifetime: How long it is valid.
        now: Present instant.
        subject: Whose it is.
        agents: Ids, or `type/name`, of the agents it may report for; empty: all.
        tenant_id: Whose rows it may see.
    """
    token_id, expires_at = uuid4(), (now + lifetime).replace(microsecond=0)
    claims: dict[str, Any] = {
        "sub": subject,
        "role": role,
        "tenant": str(tenant_id),
        "iat": int(now.timestamp()),
        "exp": int(expires_at.timestamp()),
        "jti": str(token_id),
    }
    if agents:
        claims["agents"] = list(agents)
    return IssuedToken(sign(secret, claims), token_id, subject, role, agents, expires_at)
