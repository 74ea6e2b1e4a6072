"""The operator's registry file: strict, and every error with line and key."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from orca_server.domain.agents import Content, Criticality, Endpoint
from orca_server.domain.errors import NotAllowedNow
from orca_server.domain.registry_file import SERVER_KEYS, FileServer, parse

DEFAULT = Path(__file__).parents[2] / "registry" / "mcp_registry.schema.yaml"
HEAD = 'version: "1.0.0"\nservers:\n'


def refused(text: str | bytes) -> list[tuple[str, str, str]]:
    content = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(NotAllowedNow) as caught:
        parse(content, "registry.yaml")
    assert caught.value.reason == "REGISTRY_FILE_INVALID"
    assert caught.value.message.startswith("registry.yaml: ")
    return [(one.field, one.reason, one.message) for one in caught.value.violations]


def test_a_server_with_everything() -> None:
    text = f"""{HEAD}  github:
    name: GitHub
    command: npx
    args: ["-y", server]
    env: {{TOKEN: "${{TOKEN}}", LEVEL: debug}}
    capabilities: [issues]
    description: |
      First line.
      Second line.
    owner: platform
    labels: {{team: a}}
    criticality: critical
    heartbeat_interval_seconds: 60
"""
    content = Content(
        display_name="GitHub",
        description="First line.\nSecond line.\n",
        owner="platform",
        endpoint=Endpoint(
            command="npx", args=("-y", "server"), env={"TOKEN": "${TOKEN}", "LEVEL": "debug"}
        ),
        capabilities=("issues",),
        labels={"team": "a"},
        criticality=Criticality.CRITICAL,
        heartbeat_interval_seconds=60,
    )
    stated = frozenset({"criticality", "heartbeat_interval_seconds"})
    assert parse(text.encode(), "f") == (FileServer("github", content, stated),)


def test_a_server_may_say_nothing_and_anchors_may_be_shared() -> None:
    servers = parse(f"{HEAD}  a: &x {{owner: me}}\n  b: *x\n  c: {{}}\n".encode(), "f")
    assert [(one.name, one.content.owner) for one in servers] == [
        ("a", "me"),
        ("b", "me"),
        ("c", ""),
    ]


def test_an_explicitly_empty_map_is_a_fleet_without_servers() -> None:
    assert parse(b'version: "1.0.0"\nservers: {}\n', "f") == ()


@pytest.mark.parametrize(
    ("text", "key", "reason", "line"),
    [
        ("", "", "INVALID_TYPE", 0),
        ("- a", "", "INVALID_TYPE", 1),
        ('version: "1.0.0"\n', "servers", "REQUIRED", 1),
        ('version: "1.0.0"\nservers:\n', "servers", "INVALID_TYPE", 2),
        ('version: "1.0.0"\nservers: []\n', "servers", "INVALID_TYPE", 2),
        ("servers: {}\n", "version", "REQUIRED", 1),
        ("version: 1.0\nservers: {}\n", "version", "UNSUPPORTED", 1),
        ('version: "2.0.0"\nservers: {}\n', "version", "UNSUPPORTED", 1),
        ('version: "1.0.0"\nserver: {}\nservers: {}\n', "server", "UNKNOWN_KEY", 2),
        (f"{HEAD}  a:\n    comand: x\n", "servers.a.comand", "UNKNOWN_KEY", 4),
        (f"{HEAD}  a:\n    type: mcp\n", "servers.a.type", "UNKNOWN_KEY", 4),
        (f"{HEAD}  a: 1\n", "servers.a", "INVALID_TYPE", 3),
        (f"{HEAD}  a: {{}}\n  b: {{}}\n  a: {{}}\n", "servers.a", "INVALID_FORMAT", 5),
        (f"{HEAD}  a b: {{}}\n", "servers.a b", "INVALID_FORMAT", 3),
        (f"{HEAD}  a:\n    args: x\n", "servers.a.args", "INVALID_TYPE", 4),
        (f"{HEAD}  a:\n    command: x\n    args:\n    - y\n    - 1\n", "servers.a.args[1]",
         "INVALID_TYPE", 7),
        (f"{HEAD}  a:\n    command: 1\n", "servers.a.command", "INVALID_TYPE", 4),
        (f"{HEAD}  a:\n    env:\n      A: true\n", "servers.a.env.A", "INVALID_TYPE", 5),
        (f"{HEAD}  a:\n    env:\n      B: x\n      API_KEY: sk-1\n", "servers.a.env.API_KEY",
         "SECRET_IN_PLAIN_TEXT", 6),
        (f"{HEAD}  a:\n    url: https://u:p@x/\n", "servers.a.url", "SECRET_IN_PLAIN_TEXT", 4),
        (f"{HEAD}  a:\n    url: http://x\n    command: y\n", "servers.a", "EXCLUSIVE", 3),
        (f"{HEAD}  a:\n    labels: {{a b: c}}\n", "servers.a.labels.a b", "INVALID_FORMAT", 4),
        (f"{HEAD}  a:\n    criticality: high\n", "servers.a.criticality", "INVALID_VALUE", 4),
        (f"{HEAD}  a:\n    heartbeat_interval_seconds: 1\n",
         "servers.a.heartbeat_interval_seconds", "OUT_OF_RANGE", 4),
        (f"{HEAD}  a:\n    heartbeat_interval_seconds: 1m\n",
         "servers.a.heartbeat_interval_seconds", "INVALID_TYPE", 4),
        (f"{HEAD}  a:\n    description: {'x' * 4001}\n", "servers.a.description", "TOO_LONG", 4),
        (f"{HEAD}  a:\n    name: x\n   b: y\n", "", "INVALID_FORMAT", 5),
        (f"{HEAD}  a:\n    <<: {{}}\n", "servers.a", "INVALID_FORMAT", 4),
        (f"{HEAD}  a: !!python/object:x {{}}\n", "servers.a", "INVALID_FORMAT", 3),
        ("a: [", "", "INVALID_FORMAT", 2),
        ("[" * 60, "[0]" * 50, "INVALID_FORMAT", 1),
        ("--- a\n--- b\n", "", "INVALID_FORMAT", 2),
        (b"\xff\xfe", "", "INVALID_FORMAT", 1),
        ("a: \0", "", "INVALID_FORMAT", 0),
    ],
)  # fmt: skip
def test_faults_are_named_with_line_and_key(
    text: str | bytes, key: str, reason: str, line: int
) -> None:
    found = refused(text)
    assert (key, reason) in [(one[0], one[1]) for one in found]
    message = next(one[2] for one in found if one[:2] == (key, reason))
    assert message.startswith(f"line {line}: ") == bool(line)


def test_all_faults_are_told_at_once_with_a_hint() -> None:
    found = refused(f"{HEAD}  a:\n    comand: x\n    owner: 1\n  b:\n    criticality: x\n")
    assert [one[0] for one in found] == [
        "servers.a.comand",
        "servers.a.owner",
        "servers.b.criticality",
    ]
    assert found[0][2] == "line 4: unknown key (did you mean 'command'?)"


def test_a_bomb_of_aliases_is_refused() -> None:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert refused("\n".join(lines))[0][1] == "INVALID_FORMAT"


def test_an_alias_to_itself_is_refused() -> None:
    assert "points to nothing" in refused("a: &x [*x]")[0][2]


def test_the_file_that_we_ship_is_good_and_explains_every_key() -> None:
    text = DEFAULT.read_text(encoding="utf-8")
    servers = parse(text.encode(), str(DEFAULT))
    assert len(servers) >= 3
    header = text[: text.index("\nversion:")]
    assert all(f"#     {key}" in header for key in SERVER_KEYS)


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from([*SERVER_KEYS, "servers", "version", "x"]), inner, max_size=6
        ),
    ),
    max_leaves=20,
)


def refusal(content: bytes) -> NotAllowedNow | None:
    try:
        parse(content, "f")
    except NotAllowedNow as error:
        return error
    return None


@given(VALUES)
def test_any_values_are_read_or_refused(value: object) -> None:
    text = yaml.safe_dump({"version": "1.0.0", "servers": value}, allow_unicode=True)
    error = refusal(text.encode("utf-8", "surrogatepass"))
    assert error is None or (error.reason == "REGISTRY_FILE_INVALID" and error.violations)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    error = refusal(content)
    assert error is None or error.reason == "REGISTRY_FILE_INVALID"
