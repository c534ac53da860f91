"""Wrong settings are refused at start, in one line: the name, what was given by its type, what is allowed."""

from pathlib import Path

import pytest

from daemon import settings_file
from daemon.commands.settings import masked
from daemon.masking import MASK
from daemon.settings import Settings
from daemon.settings_file import SettingsRefused, read_settings
from ledger.versions.gate_modes import GateMode
from tests.unit.daemon.conftest import Clorad


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("CLORAD_")]:
        monkeypatch.delenv(name)


def refusal(toml: str = "", env: dict[str, str] | None = None) -> str:
    """The one line with which these settings are refused."""
    monkeypatch = pytest.MonkeyPatch()
    Path("clorad.toml").write_text(toml)
    with monkeypatch.context() as patched:
        for name, value in (env or {}).items():
            patched.setenv(name, value)
        with pytest.raises(SettingsRefused) as refused:
            read_settings()
    line = str(refused.value)
    assert "\n" not in line
    return line


def test_without_a_file_everything_has_a_default() -> None:
    settings = read_settings()
    assert settings.kafka.bootstrap_servers == "127.0.0.1:9092"
    assert settings.agents == {}


def test_a_relative_default_is_a_folder_where_the_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_settings().store.path == tmp_path / "adapters"
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.chdir(other)
    assert read_settings().store.path == other / "adapters"
    assert read_settings().engine.base == other / "base"


def test_the_environment_wins_over_the_file_setting_by_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("clorad.toml").write_text(
        '[kafka]\nbootstrap_servers = "a:1"\ngroup = "g"\n[agents.x]\nscorer = "json"\n'
    )
    monkeypatch.setenv("CLORAD_KAFKA__BOOTSTRAP_SERVERS", "b:2")
    monkeypatch.setenv("CLORAD_FLEET__REPLICAS", '["http://r:1", "http://r:2"]')
    monkeypatch.setenv("CLORAD_AGENTS__Y__WEIGHT", "2.5")
    settings = read_settings()
    assert (settings.kafka.bootstrap_servers, settings.kafka.group) == ("b:2", "g")
    assert settings.fleet.replicas == ("http://r:1", "http://r:2")
    assert settings.agents["x"].scorer == "json"
    assert settings.agents["y"].weight == 2.5
    assert settings.agents["y"].tokens_per_hour_max is None


def test_paths_are_absolute_even_when_nobody_set_them() -> None:
    settings = read_settings()
    assert settings.store.path.is_absolute()
    assert settings.engine.base.is_absolute()


def test_a_file_that_was_named_must_exist() -> None:
    with pytest.raises(SettingsRefused, match=r"no such file: elsewhere/missing\.toml"):
        read_settings(Path("elsewhere/missing.toml"))


@pytest.mark.parametrize(
    "servers", ["kafka", "kafka:9092", "a.b-c_d:1, [::1]:9092", "SSL://127.0.0.1:9092,b"]
)
def test_brokers_as_kafka_clients_take_them_are_taken(servers: str) -> None:
    Path("clorad.toml").write_text(f'[kafka]\nbootstrap_servers = "{servers}"\n')
    assert read_settings().kafka.bootstrap_servers == servers


def test_a_ledger_may_lie_in_a_folder_whose_name_has_a_space() -> None:
    Path("clorad.toml").write_text('[ledger]\nurl = "sqlite:///my data/clorad.db"\n')
    assert read_settings().ledger.url == "sqlite:///my data/clorad.db"


def test_a_recipe_that_can_be_followed_is_taken_as_it_is() -> None:
    Path("clorad.toml").write_text('[agents.b]\nrecipe = {rank = 4, alpha = 8, targets = ["q_proj"]}\n')
    assert read_settings().agents["b"].recipe == {"rank": 4, "alpha": 8, "targets": ["q_proj"]}
    Path("clorad.toml").write_text(
        "[agents.b]\nrecipe = {kl_weight = 0.1}\n[agents.c]\nrecipe.coefficients = {kl = 0.1, policy = 0}\n"
    )
    agents = read_settings().agents
    assert (agents["b"].recipe, agents["c"].recipe) == (
        {"kl_weight": 0.1},
        {"coefficients": {"kl": 0.1, "policy": 0}},
    )


def test_a_file_that_is_no_toml_is_named() -> None:
    assert "clorad.toml cannot be read as TOML" in refusal("agents: []")


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        (
            '[kafka]\nbootstrap_server = "a:1"',
            ["kafka.bootstrap_server", "no such setting", "bootstrap_servers"],
        ),
        ("[kafak]\n", ["kafak", "no such setting"]),
        ('[agents.billing]\nscorrer = "json"', ["agents.billing.scorrer", "no such setting", "scorer"]),
        (
            '[agents.billing]\nscorer = "guess"',
            ["agents.billing.scorer must be one of auto, exact, json, similarity"],
        ),
        (
            '[scorers.quality]\nkind = "judge"\nurl = "http://a/v1"',
            ["scorers.quality", "a judge needs `model`"],
        ),
        (
            '[scorers.quality]\nkind = "judge"\nurl = "http://a/v1"\nmodel = "m"\nprompt = "none.txt"',
            ["scorers.quality", "prompt: no such file"],
        ),
        (
            '[scorers.quality]\nkind = "judge"\nurl = "http://a/v1"\nmodel = "m"\nconversations = true',
            ["scorers.quality", "conversations are for an http verifier"],
        ),
        ('[scorers.policy]\nkind = "smtp"\nurl = "http://a"', ["scorers.policy.kind", "'http' or 'judge'"]),
        ('[scorers.policy]\nkind = "http"\nurl = "a"', ["scorers.policy.url", "must be http://host:port"]),
        ('[scorers.exact]\nkind = "http"\nurl = "http://a"', ["scorers: a name has"]),
        ("[learning]\nevents_min = 0", ["learning.events_min", "int 0", "greater than or equal to 1"]),
        ('[learning]\nevents_min = "many"', ["learning.events_min", "str", "integer"]),
        ("[learning]\ngather_s = 6000", ["learning.gather_s", "6000", "less than or equal to 600"]),
        ("[gate]\nalpha = 0.9", ["gate.alpha", "0.9", "less than 0.5"]),
        ("[gateway]\nport = 70000", ["gateway.port", "70000", "65535"]),
        ('[engine]\nmixing = "sometimes"', ["engine.mixing", "'auto' or 'never'"]),
        ("[kafka\n", ["cannot be read"]),
        ("[engine]\nbase = 5", ["engine.base", "int 5", "path"]),
        ('[ledger]\nurl = "clorad.db"', ["ledger.url", "must be sqlite:///path or postgresql+psycopg://"]),
        ('[ledger]\nurl = "mysql://me@host/clorad"', ["ledger.url", "must be sqlite:///path"]),
        ('[ledger]\nurl = "postgresql+psycopg://host:port/x"', ["ledger.url", "must be sqlite:///path"]),
        ('[ledger]\nurl = "postgresql+psycopg://me:a b@host/x"', ["ledger.url", "must be written %20"]),
        ('[ledger]\nurl = "postgresql+psycopg://host/x?password=a b"', ["ledger.url", "%20"]),
        ('[fleet]\nreplicas = ["http://r:1/?token=a b"]', ["fleet.replicas.0", "without a space"]),
        ('[kafka]\nbootstrap_servers = "kafka:here"', ["kafka.bootstrap_servers", "must be host:port"]),
        ('[kafka]\nbootstrap_servers = ""', ["kafka.bootstrap_servers", "must be host:port"]),
        ('[kafka]\nbootstrap_servers = "a:1,,b:2"', ["kafka.bootstrap_servers", "must be host:port"]),
        ("[agents.b]\nweight = inf", ["agents.b.weight", "finite"]),
        ('[fleet]\nreplicas = ["127.0.0.1:8000"]', ["fleet.replicas.0", "must be http://host:port"]),
        ('[fleet]\nreplicas = ["http://[::1:8000"]', ["fleet.replicas.0", "must be http://host:port"]),
        ('[telemetry]\notlp_endpoint = "otel:4318"', ["telemetry.otlp_endpoint", "must be http://host:port"]),
        ("[telemetry]\nhealth_port = 65532", ["telemetry.health_port", "65530"]),
        ("[agents.b]\nrecipe = {rang = 4}", ["agents.b.recipe", "unknown recipe settings rang", "rank"]),
        ('[agents.b]\nrecipe = {preset = "ppo"}', ["agents.b.recipe", "unknown preset; known: grpo"]),
        ("[agents.b]\nrecipe = {preset = 1}", ["agents.b.recipe", "preset must be a text"]),
        ("[agents.b]\nrecipe = {rank = -1}", ["agents.b.recipe", "out of range: rank"]),
        ("[agents.b]\nrecipe = {rank = 8.5}", ["agents.b.recipe", "rank must be a whole number"]),
        ("[agents.b]\nrecipe = {alpha = true}", ["agents.b.recipe", "alpha must be a number"]),
        ("[agents.b]\nrecipe = {alpha = inf}", ["agents.b.recipe", "alpha must be a number"]),
        ("[agents.b]\nrecipe = {kl_weight = true}", ["agents.b.recipe", "kl must be a number"]),
        ("[agents.b]\nrecipe = {coefficients = {kl = -1}}", ["agents.b.recipe", "out of range"]),
        ("[agents.b]\nrecipe = {coefficients = {dpo = 1}}", ["agents.b.recipe", "dpo", "preference"]),
        ("[agents.b]\nrecipe = {rslora = 1}", ["agents.b.recipe", "rslora must be true or false"]),
        ('[agents.b]\nrecipe = {targets = ["head"]}', ["agents.b.recipe", "targets", "q_proj"]),
        ("[agents.b]\nrecipe = {targets = []}", ["agents.b.recipe", "targets", "q_proj"]),
    ],
)
def test_what_is_wrong_in_the_file_is_named(toml: str, expected: list[str]) -> None:
    line = refusal(toml)
    for part in expected:
        assert part in line


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("CLORAD_KAFAK__BOOTSTRAP_SERVERS", "a:1", "CLORAD_KAFAK__BOOTSTRAP_SERVERS: no such setting"),
        (
            "CLORAD_KAFKA__BOOTSTRAP",
            "a:1",
            "CLORAD_KAFKA__BOOTSTRAP: no such setting in the environment;"
            " the nearest is CLORAD_KAFKA__BOOTSTRAP_SERVERS",
        ),
        ("CLORAD_GATEWAY__PORT", "eighty", "gateway.port"),
        ("CLORAD_FLEET__REPLICAS", "http://r:1", "fleet"),
        ("CLORAD_FAILPOINT", "NOT A NAME", "failpoint"),
        ("CLORAD_KAFKA", "a:1", "kafka"),
    ],
)
def test_what_is_wrong_in_the_environment_is_named(variable: str, value: str, expected: str) -> None:
    assert expected in refusal(env={variable: value})


@pytest.mark.parametrize(
    "toml",
    [
        '[ledger]\nurl = 17\n[kafka]\noptions = "hunter2"',
        '[gateway]\nport = "hunter2"',
        '[telemetry]\nlog_level = "hunter2"',
        '[ledger]\nurl = "mysql://me:hunter2@host/clorad"',
        '[fleet]\nreplicas = ["me:hunter2@r"]',
    ],
)
def test_values_that_may_be_secrets_are_not_repeated(toml: str) -> None:
    assert "hunter2" not in refusal(toml)


@pytest.mark.parametrize(
    ("toml", "line"),
    [
        (
            '[kafka]\nbootstrap_server = "a:1"',
            "kafka.bootstrap_server: no such setting in clorad.toml; the nearest is kafka.bootstrap_servers",
        ),
        ("[kafak]\n", "kafak: no such setting in clorad.toml; the nearest is kafka"),
        (
            "[learning]\nalpha = 0.1",
            "learning.alpha: no such setting in clorad.toml; the nearest is gate.alpha",
        ),
        (
            '[agents.billing]\nscorrer = "json"',
            "agents.billing.scorrer: no such setting in clorad.toml; the nearest is agents.billing.scorer",
        ),
        (
            "[gateway]\nbananas = 1",
            "gateway.bananas: no such setting in clorad.toml; known: host, access, open_beyond_loopback, "
            "hosts, origins, author_header, trusted_proxies, port, capture_share, leave_s, fields_allowed, "
            "fields_other, media_hosts, limits",
        ),
    ],
)
def test_a_name_of_an_older_or_newer_file_is_refused_with_the_nearest_one(toml: str, line: str) -> None:
    assert refusal(toml) == line


def test_the_file_that_was_named_stands_in_the_refusal(tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("[gate]\nalfa = 0.1\n")
    with pytest.raises(SettingsRefused, match=r"^gate\.alfa: .* in .*other\.toml; the nearest is"):
        read_settings(tmp_path / "other.toml")


@pytest.mark.parametrize("name", sorted(settings_file.REMOVED))
def test_a_setting_that_only_an_older_clorad_had_is_refused_with_the_way_out(
    name: str, tmp_path: Path
) -> None:
    section, _, setting = name.partition(".")
    (tmp_path / "old.toml").write_text(f"[{section}]\n{setting} = 1\n")
    with pytest.raises(SettingsRefused) as refused:
        read_settings(tmp_path / "old.toml")
    assert str(refused.value) == (
        f"{name}: only an older clorad had this setting, which is in {tmp_path}/old.toml;"
        " its value is fixed now: remove the line"
    )


def test_an_old_name_is_no_present_one_and_leads_to_one() -> None:
    present = {".".join(name) for name in settings_file._setting_names(Settings)}
    assert set(settings_file.RENAMED.values()) <= present
    assert not (settings_file.RENAMED.keys() | settings_file.REMOVED) & present


class TestRenamed:
    @pytest.fixture(autouse=True)
    def _some_names_are_old(self, monkeypatch: pytest.MonkeyPatch) -> None:
        old_names = {
            "learning.records_min": "learning.events_min",
            "kafka.client": "kafka.options",
            "agents.*.share": "agents.*.weight",
            "trainer.lanes": "engine.slots",
        }
        monkeypatch.setattr(settings_file, "RENAMED", old_names)

    def test_old_names_in_the_file_are_read_with_a_warning(self, capsys: pytest.CaptureFixture[str]) -> None:
        Path("clorad.toml").write_text(
            "[learning]\nrecords_min = 5\n[kafka.client]\napi_version = 4\n"
            "[agents.billing]\nshare = 2.0\n[trainer]\nlanes = 3\n"
        )
        settings = read_settings()
        assert settings.learning.events_min == 5
        assert settings.kafka.options == {"api_version": 4}
        assert settings.agents["billing"].weight == 2.0
        assert settings.engine.slots == 3
        assert capsys.readouterr().err.splitlines() == [
            "clorad: learning.records_min in clorad.toml is called learning.events_min now",
            "clorad: kafka.client.api_version in clorad.toml is called kafka.options.api_version now",
            "clorad: agents.billing.share in clorad.toml is called agents.billing.weight now",
            "clorad: trainer.lanes in clorad.toml is called engine.slots now",
        ]

    def test_an_old_variable_is_read_with_a_warning(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("CLORAD_LEARNING__RECORDS_MIN", "5")
        monkeypatch.setenv("CLORAD_AGENTS__BILLING__SHARE", "2.0")
        settings = read_settings()
        assert (settings.learning.events_min, settings.agents["billing"].weight) == (5, 2.0)
        assert capsys.readouterr().err.splitlines() == [
            "clorad: CLORAD_AGENTS__BILLING__SHARE in the environment"
            " is called CLORAD_AGENTS__BILLING__WEIGHT now",
            "clorad: CLORAD_LEARNING__RECORDS_MIN in the environment"
            " is called CLORAD_LEARNING__EVENTS_MIN now",
        ]

    def test_an_old_name_beside_the_new_one_is_refused(self) -> None:
        assert refusal("[learning]\nrecords_min = 5\nevents_min = 6") == (
            "learning.records_min in clorad.toml: the old name of learning.events_min, given too"
        )


class TestCommand:
    def test_a_refusal_is_one_line_and_78(self, clorad: Clorad) -> None:
        Path("clorad.toml").write_text("[gateway]\nport = 70000\n")
        for words in (("status",), ("run",), ("intake",), ("config", "--check")):
            result = clorad(*words)
            assert result.code == 78
            assert result.err.startswith("clorad: gateway.port: got int 70000; ")
            assert result.err.count("\n") == 1

    def test_effective_settings_are_shown_without_secrets(self, clorad: Clorad) -> None:
        Path("clorad.toml").write_text(
            '[ledger]\nurl = "postgresql+psycopg://clorad:hunter2@db/clorad"\n'
            '[fleet]\nreplicas = ["http://user:hunter2@r:1"]\n'
            '[kafka.options]\nsasl_plain_password = "hunter2"\nsecurity_protocol = "SASL_SSL"\n'
            'sasl_mechanism = "PLAIN"\nsasl_plain_username = "clorad"\n'
            '[telemetry]\notlp_endpoint = "http://token:hunter2@otel:4318"\n'
        )
        for words in (("config",), ("config", "--json")):
            result = clorad(*words)
            assert result.code == 0
            assert "hunter2" not in result.out
            assert "SASL_SSL" in result.out
        assert clorad("config", "--check").out == "settings can be used\n"

    def test_what_is_shown_can_be_used_as_it_is(self, clorad: Clorad) -> None:
        Path("clorad.toml").write_text('[agents.billing]\nscorer = "json"\nrecipe = {rank = 4}\n')
        shown = clorad("config", "--json").json
        Path("clorad.toml").write_text(clorad("config").out)
        assert clorad("config", "--json").json == shown


def test_every_secret_in_a_url_is_masked() -> None:
    settings = Settings(
        ledger={"url": "postgresql+psycopg://me:hunter2@db/clorad"},
        fleet={"replicas": ["http://hunter2@r:1"]},
    )
    assert "hunter2" not in str(masked(settings))
    assert MASK in masked(settings)["fleet"]["replicas"][0]


class TestReplicaKeys:
    REPLICAS = '[fleet]\nreplicas = ["http://a:1", "http://b:2/", "http://c:3"]\n'

    def test_one_key_is_for_all_and_a_replica_may_have_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        Path("clorad.toml").write_text(self.REPLICAS + '[fleet.api_keys]\n"http://b:2" = "of-b"\n')
        assert read_settings().fleet.replica_keys() == {"http://b:2": "of-b"}
        monkeypatch.setenv("CLORAD_FLEET__API_KEY", "of-all")
        keys = read_settings().fleet.replica_keys()
        assert keys == {"http://a:1": "of-all", "http://b:2": "of-b", "http://c:3": "of-all"}

    def test_without_a_key_there_is_none(self) -> None:
        assert read_settings().fleet.replica_keys() == {}
        assert masked(read_settings())["fleet"]["api_key"] is None
        assert masked(read_settings())["fleet"]["api_keys"] == {}

    def test_no_key_is_printed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        Path("clorad.toml").write_text(self.REPLICAS + '[fleet.api_keys]\n"http://b:2" = "s3cret-b"\n')
        monkeypatch.setenv("CLORAD_FLEET__API_KEY", "s3cret-all")
        settings = read_settings()
        assert "s3cret" not in f"{settings!r}{settings.model_dump(mode='json')}{masked(settings)}"

    @pytest.mark.parametrize("key", ["", "two words", "line\nbreak", "schlüssel"])
    def test_a_key_that_no_header_can_carry_is_refused_without_repeating_it(self, key: str) -> None:
        line = refusal(env={"CLORAD_FLEET__API_KEY": key})
        assert "fleet.api_key: got str; must be printable ASCII" in line
        assert not key or key not in line

    def test_a_key_for_a_replica_that_is_none_of_ours_is_refused(self) -> None:
        line = refusal(self.REPLICAS + '[fleet.api_keys]\n"http://d:4" = "x"\n')
        assert "api_keys names a URL that is not one of replicas" in line


class TestGatewayAccess:
    def test_pages_names_and_proxies_are_taken_as_they_are_written(self) -> None:
        Path("clorad.toml").write_text(
            '[gateway]\naccess = "keys"\nhosts = ["Gateway.Example"]\norigins = ["https://chat.example"]\n'
            'author_header = "X-Forwarded-User"\ntrusted_proxies = ["10.0.0.7", "fd00::/8"]\n'
        )
        gateway = read_settings().gateway
        assert gateway.hosts == {"gateway.example"}
        assert [str(network) for network in gateway.trusted_proxies] == ["10.0.0.7/32", "fd00::/8"]

    @pytest.mark.parametrize(
        ("line", "named"),
        [
            ('access = "none"', "gateway.access"),
            ('hosts = ["http://gateway.example"]', "gateway.hosts"),
            ('hosts = ["gateway.example:80"]', "gateway.hosts"),
            ('origins = ["*"]', "gateway.origins"),
            ('origins = ["https://chat.example/"]', "gateway.origins"),
            ('origins = ["https://chat.example:443"]', "gateway.origins"),
            ('origins = ["null"]', "gateway.origins"),
            ('trusted_proxies = ["anybody"]', "gateway.trusted_proxies"),
            ('author_header = "x user"', "gateway.author_header"),
            ('author_header = "x-user"', "author_header needs trusted_proxies"),
        ],
    )
    def test_what_would_open_more_than_it_says_is_refused(self, line: str, named: str) -> None:
        assert named in refusal(f"[gateway]\n{line}\n")


def test_the_key_of_a_scorer_is_sent_and_never_shown() -> None:
    Path("clorad.toml").write_text(
        '[scorers.quality]\nkind = "judge"\nurl = "http://me:pw@host/v1"\nmodel = "m"\nsecret = "s3cret"\n'
        '[scorers.policy]\nkind = "http"\nurl = "http://host"\nsecret = "s3cret"\nheader = "x-key"\n'
        '[agents.writer]\nscorer = "quality"\n'
    )
    settings = read_settings()
    assert settings.scorers["quality"].headers() == {"authorization": "Bearer s3cret"}
    assert settings.scorers["policy"].headers() == {"x-key": "s3cret"}
    shown = str(masked(settings))
    assert "s3cret" not in shown
    assert "me:pw" not in shown


def test_a_gate_by_outcomes_is_read_and_refused_without_a_share() -> None:
    Path("clorad.toml").write_text('[agents.x]\ngate = "outcomes"\n')
    assert read_settings().agents["x"].gate is GateMode.OUTCOMES
    line = refusal('[agents.x]\ngate = "outcomes"\ncanary_share = 0\n')
    assert 'gate = "outcomes" needs a share of the traffic' in line
    assert "confirm = true contradicts it" in refusal('[agents.x]\ngate = "off"\nconfirm = true\n')
    assert "canary_share has no meaning" in refusal('[agents.x]\ngate = "off"\ncanary_share = 0.1\n')
    assert "gate" in refusal('[agents.x]\ngate = "sometimes"\n')
