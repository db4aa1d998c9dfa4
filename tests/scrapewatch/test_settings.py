from __future__ import annotations

from pathlib import Path

import pytest

from scrapewatch.problems import ConfigurationError
from scrapewatch.settings import BARE, PREFIX, Settings, load, load_dotenv


def test_an_empty_environment_gives_the_defaults() -> None:
    assert load({}) == Settings()


def test_every_setting_is_read_under_the_prefix() -> None:
    given = {
        "SCRAPEWATCH_PORT": "9000",
        "SCRAPEWATCH_DATA_DIR": "/srv/scrapewatch",
        "SCRAPEWATCH_SAMPLER": "false",
        "SCRAPEWATCH_FLUSH_INTERVAL": "0.5",
        "SCRAPEWATCH_ALLOWED_HOSTS": "localhost, scrapewatch.example ,",
    }
    settings = load(given)
    assert settings.port == 9000
    assert settings.data_dir == Path("/srv/scrapewatch")
    assert settings.sampler is False
    assert settings.flush_interval == 0.5
    assert settings.allowed_hosts == ("localhost", "scrapewatch.example")


def test_every_bare_name_is_a_setting() -> None:
    assert {name.lower() for name in BARE} <= set(Settings.model_fields)


def test_a_bare_name_is_read_and_the_prefixed_one_wins_over_it() -> None:
    assert load({"INFLUX_ORG": "bare"}).influx_org == "bare"
    assert load({"INFLUX_ORG": "bare", "SCRAPEWATCH_INFLUX_ORG": "prefixed"}).influx_org == "prefixed"


def test_a_name_that_is_not_among_the_bare_ones_needs_the_prefix() -> None:
    assert load({"PORT": "9000", "HOST": "0.0.0.0", "LOG_LEVEL": "shout"}) == load({})


def test_an_empty_value_counts_as_none() -> None:
    assert load({"SCRAPEWATCH_INFLUX_URL": "", "SCRAPEWATCH_PORT": ""}) == load({})


@pytest.mark.parametrize("name", ["INFLUX_TOKEN", "SCRAPEWATCH_INFLUX_TOKEN"])
def test_a_value_may_stand_in_a_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    token = load({f"{name}_FILE": str(tmp_path / "token")}).influx_token
    assert token is not None
    assert token.get_secret_value() == "s3cret"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"DATABASE_URL_FILE names .*nowhere"):
        load({"DATABASE_URL_FILE": str(tmp_path / "nowhere")})


def test_an_unknown_name_is_reported_with_the_nearest_known_one() -> None:
    with pytest.raises(ConfigurationError, match="did you mean SCRAPEWATCH_STALL_AFTER"):
        load({"SCRAPEWATCH_STALL_AFTR": "60"})
    with pytest.raises(ConfigurationError, match="SCRAPEWATCH_INFLUX_TOKEN"):
        load({"SCRAPEWATCH_INFLUX_TOKN_FILE": "/run/secrets/token"})


def test_an_unknown_name_that_is_near_none_is_reported_with_where_they_are_listed() -> None:
    with pytest.raises(ConfigurationError, match=r"SCRAPEWATCH_ZZZZZZZZ is no setting.*docs/settings\.md"):
        load({"SCRAPEWATCH_ZZZZZZZZ": "1"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "0"),
        ("PORT", "http"),
        ("LOG_LEVEL", "shout"),
        ("METRICS_RETENTION_DAYS", "0"),
        ("STALL_AFTER", "-1"),
        ("SAMPLER", "perhaps"),
    ],
)
def test_a_value_that_cannot_be_used_is_reported_with_its_name(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=PREFIX + name):
        load({PREFIX + name: value})


def test_a_refusal_does_not_repeat_a_secret() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load({"SCRAPEWATCH_PORT": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_secrets_do_not_show_when_the_settings_are_printed() -> None:
    secret = {
        name: f"hidden-{name}" for name in ("INFLUX_TOKEN", "DATABASE_URL", "REDIS_URL", "GRAFANA_TOKEN")
    }
    assert "hidden" not in repr(load(secret))
    assert "hidden" not in str(load(secret))


def test_an_override_wins_unless_it_is_none() -> None:
    assert load({"SCRAPEWATCH_PORT": "9000"}, port=9001).port == 9001
    assert load({"SCRAPEWATCH_PORT": "9000"}, port=None).port == 9000


def test_the_environment_wins_over_the_file_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("SCRAPEWATCH_PORT=9000\nSCRAPEWATCH_INFLUX_ORG=from-file\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCRAPEWATCH_PORT", "9001")
    settings = load()
    assert settings.port == 9001
    assert settings.influx_org == "from-file"


def test_a_dotenv_file_may_have_comments_blank_lines_and_quotes(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("# ours\n\n A = 1 \nB='two words'\nC=\"x=y\"\nD='\n")
    assert load_dotenv(path) == {"A": "1", "B": "two words", "C": "x=y", "D": "'"}


def test_there_need_be_no_dotenv_file(tmp_path: Path) -> None:
    assert load_dotenv(tmp_path / ".env") == {}


def test_a_line_of_a_dotenv_file_that_sets_nothing_is_named(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("A=1\nexport\n")
    with pytest.raises(ConfigurationError, match="line 2"):
        load_dotenv(path)


def test_a_value_that_is_none_of_a_few_is_answered_with_those() -> None:
    with pytest.raises(
        ConfigurationError, match=r"^SCRAPEWATCH_LOG_LEVEL: must be one of DEBUG, INFO, WARNING, ERROR$"
    ):
        load({"SCRAPEWATCH_LOG_LEVEL": "LOUD"})


@pytest.mark.parametrize(
    "origin", ["*", "app.example.com", "https://app.example.com/", "https://", "null", "ftp://a"]
)
def test_an_origin_is_one_as_browsers_write_it(origin: str) -> None:
    assert load({"SCRAPEWATCH_CORS_ORIGINS": "https://a.example, http://[::1]:3000"}).cors_origins == (
        "https://a.example",
        "http://[::1]:3000",
    )
    with pytest.raises(ConfigurationError, match="CORS_ORIGINS"):
        load({"SCRAPEWATCH_CORS_ORIGINS": origin})
