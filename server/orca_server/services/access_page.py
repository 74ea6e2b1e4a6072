"""docs/access.md: the tables of roles, scopes and methods, written from what is enforced.

`python -m orca_server.services.access_page > docs/access.md` writes the page.
"""

from collections.abc import Iterator, Sequence

from google.protobuf.descriptor import MethodDescriptor

from orca.v1 import (
    agent_service_pb2,
    report_service_pb2,
    system_service_pb2,
    trust_service_pb2,
    workflow_service_pb2,
)
from orca_server.domain.access import PUBLIC_SCOPE, ROLES, SCOPES
from orca_server.services.interceptors import scope_of

MODULES = (
    agent_service_pb2,
    workflow_service_pb2,
    trust_service_pb2,
    report_service_pb2,
    system_service_pb2,
)

_INTRODUCTION = """
<!-- Written by `python -m orca_server.services.access_page`; change that module, not this. -->
# Access

Each method asks for one **scope**. A caller has a **role**, and a role has scopes. Nothing else
decides, but for two bounds of the role `adapter`: it may report only for the agents that its token
names, if it names any (and then for no workflow), and change only what an agent says of itself, or
a tool of its workflows.

## Without a token

`ORCA_ANONYMOUS_ROLE` is the role of calls without a token. It is `none` unless set: such calls are
refused (`TOKEN_MISSING`), and a server without it and without JWT_SECRET does not start. `orca up`
sets `operator` and listens on 127.0.0.1 alone, so that curl works on a laptop; `orca status` then
says `access: open`. A token that is sent is always looked at: a bad one is refused even there. Only
the methods of scope `public` look at none.

## Tokens

    orca tokens create --role viewer --ttl 30d --subject "grafana"
    orca tokens create --role adapter --ttl 90d --agent mcp/search --agent mcp/mail
    orca tokens list
    orca tokens revoke ID

`--agent` goes with the role `adapter` alone (other roles act on every agent) and takes `TYPE/NAME`,
also of an agent that is still to come, or an id.

These work on DATABASE_URL and JWT_SECRET directly, so whoever runs them has both already. The token
is printed once and never stored; what it says is. Servers refuse a revoked token within 5 seconds.
It is sent as `authorization: Bearer TOKEN`, over REST as the header of that name.

A token is a JWT, signed with HS256. Every claim but the last two is required:

| claim | meaning |
|---|---|
| `iss` | `orca` |
| `aud` | `orca` |
| `sub` | whose it is; stands in the audit log |
| `role` | one of the roles below |
| `iat`, `exp` | when it was made and when it ends, seconds since 1970 (`iat` may be 10 s ahead) |
| `jti` | its id, for revocation |
| `tenant` | UUID of the tenant whose rows it sees; absent: the default tenant |
| `agents` | list of agent ids or `type/name` that it may report for; absent: all |

## Secrets

JWT_SECRET signs and checks tokens; 32 characters at least. It may be set in the environment and
stand in several lines of `.env`: all are valid, and the last line of the file signs (without one,
the environment). So a secret is replaced by adding a line and restarting; the old line goes when
its tokens have ended. A secret that the environment holds stays valid until that is changed, too.
"""


def render() -> str:
    """The page."""
    return "\n".join(_lines()) + "\n"


def methods() -> list[MethodDescriptor]:
    """Every method of every service."""
    return [
        method
        for module in MODULES
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    ]


def _lines() -> Iterator[str]:
    yield from _INTRODUCTION.strip().splitlines()
    yield from ("", "## Roles and scopes", "")
    scopes = sorted(frozenset().union(*SCOPES.values()))
    rows = [(f"`{scope}`", *_marks(scope)) for scope in scopes]
    yield from _table(("scope", *ROLES), rows)
    yield from ("", "## Methods", "")
    rows = [
        (f"{method.containing_service.name}.{method.name}", f"`{scope}`", *_marks(scope))
        for method in methods()
        for scope in (scope_of(method),)
    ]
    yield from _table(("method", "scope", *ROLES), rows)
    yield from ("", "`grpc.health.v1.Health` and server reflection ask for no token.")


def _marks(scope: str) -> Iterator[str]:
    for role in ROLES:
        yield "yes" if scope == PUBLIC_SCOPE or scope in SCOPES[role] else "–"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield "|" + "---|" * len(columns)
    yield from (f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    print(render(), end="")
