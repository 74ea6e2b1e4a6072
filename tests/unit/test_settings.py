"""Settings: the environment over the file, every fault named, no secret shown."""

from pathlib import Path

import pytest

from orca_server import settings
from orca_server.settings import BadSettings, Settings, billionths, load, split_address

URL = "postgresql://orca:pass-word@localhost/orcamesh"
FIRST = "first-secret-first-secret-first-secret"
SECOND = "second-secret-second-secret-second-se"
THIRD = "third-secret-third-secret-third-secre"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No settings but the test's, and an empty working folder."""
    names = {str(field.validation_alias) for field in Settings.model_fields.values()}
    for name in (*names, "ORCA_ENV_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def good(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The least that a server needs."""
    monkeypatch.setenv("DATABASE_URL", URL)
    monkeypatch.setenv("JWT_SECRET", FIRST)
    return monkeypatch


def secrets(found: Settings) -> list[str]:
    return [secret.get_secret_value() for secret in found.jwt_secrets]


def test_what_is_needed_is_enough(good: pytest.MonkeyPatch) -> None:
    found = load()
    assert found.database_url.get_secret_value() == URL
    assert (found.anonymous_role, found.max_connections) == ("none", 8)
    assert found.trust_score_baseline_ppb == 850_000_000
    assert found.risk_baseline_cost_nano_usd == 10_000 * 10**9
    assert list(found.trust_weights_ppb.values()) == [3 * 10**8, 3 * 10**8, 25 * 10**7, 15 * 10**7]
    assert found.database_replica_url is None


def test_every_fault_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "PGMAXCONNECTIONS": "many",
        "ORCA_GRPC_ADDRESS": "localhost",
        "TRUST_SCORE_BASELINE": "0.1234567891",
        "JWT_SECRET": "short",
        "ORCA_TRUST_WEIGHTS": "agent_uptime=1",
        "ORCA_TICK_SECONDS": "nan",
        "ORCA_ANONYMOUS_ROLE": "root",
        "DRIFT_THRESHOLD_PCT": "101",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BadSettings) as caught:
        load()
    named = [line.partition(":")[0] for line in str(caught.value).splitlines()]
    assert sorted(named) == [
        "DATABASE_URL",
        "DRIFT_THRESHOLD_PCT",
        "JWT_SECRET",
        "ORCA_ANONYMOUS_ROLE",
        "ORCA_GRPC_ADDRESS",
        "ORCA_TICK_SECONDS",
        "ORCA_TRUST_WEIGHTS",
        "PGMAXCONNECTIONS",
        "TRUST_SCORE_BASELINE",
    ]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("TRUST_SCORE_BASELINE", "5", "must lie within 0 and 1"),
        ("TRUST_SCORE_BASELINE", "-0.1", "must lie within 0 and 1"),
        ("RISK_BASELINE_COST_USD", "-1", "must lie within 0 and 1000000000"),
        ("DRIFT_THRESHOLD_PCT", "101", "must lie within 0 and 100"),
        ("PGMAXCONNECTIONS", "1", "must lie within 2 and 200"),
        ("SYNC_FRESHNESS_SLO_HOURS", "0", "must be more than 0"),
        ("ORCA_INGEST_QUEUE_RECORDS", "1", "must be 1000 or more"),
        ("ORCA_TICK_SECONDS", "0", "must lie within 0.05 and 3600"),
    ],
)
def test_bounds_are_told_in_the_unit_that_is_typed(
    good: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    good.setenv(name, value)
    with pytest.raises(BadSettings) as caught:
        load()
    assert str(caught.value) == f"{name}: {words}"


def test_a_server_that_nobody_could_call_is_refused(good: pytest.MonkeyPatch) -> None:
    good.delenv("JWT_SECRET")
    with pytest.raises(BadSettings, match="JWT_SECRET: nobody could call"):
        load()
    good.setenv("ORCA_ANONYMOUS_ROLE", "viewer")
    assert load().jwt_secrets == ()


def test_no_secret_is_ever_shown(good: pytest.MonkeyPatch) -> None:
    found = load()
    assert FIRST not in f"{found!r} {found}"
    assert "pass-word" not in f"{found!r} {found}"
    good.setenv("JWT_SECRET", "short-but-secret")
    good.setenv("DATABASE_URL", "mysql://orca:pass-word@localhost")
    with pytest.raises(BadSettings) as caught:
        load()
    assert "short-but-secret" not in str(caught.value)
    assert "pass-word" not in str(caught.value)


def test_the_environment_wins_over_the_file(good: pytest.MonkeyPatch, clean: Path) -> None:
    (clean / ".env").write_text("PGMAXCONNECTIONS=5\nORCA_TICK_SECONDS=7\n")
    good.setenv("PGMAXCONNECTIONS", "6")
    found = load()
    assert (found.max_connections, found.tick_seconds) == (6, 7.0)


def test_repeated_secrets_are_all_valid_and_the_last_line_signs(
    good: pytest.MonkeyPatch, clean: Path
) -> None:
    (clean / ".env").write_text(f"JWT_SECRET={SECOND}\nX=1\nJWT_SECRET='{THIRD}'\n")
    assert secrets(load()) == [FIRST, SECOND, THIRD]
    good.delenv("JWT_SECRET")
    assert secrets(load()) == [SECOND, THIRD]


def test_another_file_can_be_named(good: pytest.MonkeyPatch, clean: Path) -> None:
    (clean / ".env").write_text("PGMAXCONNECTIONS=5\n")
    (clean / "other").write_text("PGMAXCONNECTIONS=7\n")
    good.setenv("ORCA_ENV_FILE", str(clean / "other"))
    assert load().max_connections == 7
    good.setenv("ORCA_ENV_FILE", str(clean / "missing"))
    with pytest.raises(BadSettings, match="missing: cannot be read"):
        load()


def test_a_line_that_is_no_setting_is_named(good: pytest.MonkeyPatch, clean: Path) -> None:
    (clean / ".env").write_text("PGMAXCONNECTIONS=5\nthis is no setting\n")
    with pytest.raises(BadSettings, match=r"\.env, line 2"):
        load()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "agent_uptime=0.4,policy_adherence=0.3,sync_freshness=0.2,risk_exposure=0.1",
            [400_000_000, 300_000_000, 200_000_000, 100_000_000],
        ),
        (
            '{"risk_exposure": 0.1, "agent_uptime": 0.1,'
            ' "policy_adherence": 0.1, "sync_freshness": 0.7}',
            [100_000_000, 100_000_000, 700_000_000, 100_000_000],
        ),
    ],
    ids=["pairs", "JSON in another order"],
)
def test_weights_are_read_exactly(good: pytest.MonkeyPatch, text: str, expected: list[int]) -> None:
    good.setenv("ORCA_TRUST_WEIGHTS", text)
    assert list(load().trust_weights_ppb.values()) == expected
    assert tuple(load().trust_weights_ppb) == settings.COMPONENTS


def test_weights_that_do_not_sum_to_one_are_refused(good: pytest.MonkeyPatch) -> None:
    pairs = "agent_uptime=0.4,policy_adherence=0.3,sync_freshness=0.2,risk_exposure=0.2"
    good.setenv("ORCA_TRUST_WEIGHTS", pairs)
    with pytest.raises(BadSettings, match=r"sum to 1\.1, not to 1"):
        load()


@pytest.mark.parametrize(("text", "expected"), [("0.85", 850_000_000), ("1", 10**9), ("1e-9", 1)])
def test_scores_are_exact_billionths(text: str, expected: int) -> None:
    assert billionths(text) == expected


@pytest.mark.parametrize("text", ["x", "inf", "nan", "1e-10", ""])
def test_what_is_no_exact_billionth_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no number|9 decimals"):
        billionths(text)


def test_addresses_are_split() -> None:
    assert split_address("127.0.0.1:50151") == ("127.0.0.1", 50151)
    assert split_address("[::1]:0") == ("::1", 0)
    for wrong in ("localhost", ":1", "x:99999", "x:y"):
        with pytest.raises(ValueError, match="host:port"):
            split_address(wrong)


def test_settings_do_not_change(good: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().max_connections = 3  # type: ignore[misc]
