"""Nothing that `clorad config`, a log line, a fault line or the health port shows holds a secret."""

import ast
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
import structlog
from pydantic import BaseModel, SecretStr

from daemon.commands.settings import masked
from daemon.masking import MASK, is_secret_name, mask, mask_values
from daemon.process.health import Health
from daemon.process.telemetry import fault_line, start_logging
from daemon.settings import Settings, TelemetrySettings
from ledger.access.key_text import new_key_text

ROOT = Path(__file__).parents[3]
SECRET = "hunter2"

HOSTILE = [
    # the user-info of a URL
    "postgresql+psycopg://clorad:hunter2@db/clorad",
    "http://hunter2@replica:8000",
    "HTTPS://USER:hunter2@REPLICA",
    "http://user:p%40ss-hunter2@replica",
    "http://user:p@ss@hunter2@replica",
    "postgresql+psycopg://clorad:a/hunter2@db/clorad",
    "postgresql+psycopg://clorad:12/hunter2@db/clorad",
    "postgresql+psycopg://clorad:a?hunter2@db/clorad",
    "postgresql+psycopg://clorad:a#hunter2@db/clorad",
    "http://user%3Ahunter2@replica",
    # several hosts
    "postgresql://clorad:hunter2@db1:5432,db2:5432/clorad?target_session_attrs=read-write",
    "postgresql+psycopg://clorad:hunter2@/clorad?host=db1:5432&host=db2:5432",
    # query parameters
    "postgresql+psycopg://db/clorad?password=hunter2",
    "postgresql+psycopg://db/clorad?sslmode=require&sslpassword=hunter2",
    "postgresql+psycopg://db/clorad?PASSWORD=hunter2&x=1",
    "postgresql+psycopg://db/clorad?%70assword=hunter2",
    "postgresql+psycopg://db/clorad?p%61ss%77ord=hunter2",
    "postgresql+psycopg://db/clorad?password=a;hunter2",
    "postgresql+psycopg://db/clorad?password=a#hunter2",
    "postgresql+psycopg://db/clorad?password=a'hunter2",
    "postgresql+psycopg://db/clorad?sslmode=require;password=hunter2",
    "postgresql+psycopg://db/clorad?host=a@hunter2",
    "https://otel:4318/v1/metrics?token=hunter2",
    "https://otel:4318/v1/metrics?Token=hunter2&timeout=5",
    "https://otel:4318/v1/metrics?api_key=hunter2",
    "https://otel:4318/v1/metrics?a-name-we-never-heard-of=hunter2",
    "https://otel:4318/v1/metrics?hunter2",
    "https://replica/?next=http%3A%2F%2Fuser%3Ahunter2%40other%2F",
    "http%3A%2F%2Fuser%3Ahunter2%40other%2F",
    "http%3A%2F%2Fother%2F%3Fpassword%3Dhunter2",
    # fragments
    "https://replica/#token=hunter2",
    "https://replica/#hunter2",
    "https://replica/?mode=ro#access_token=hunter2",
    # a relative URL, as a library logs it
    "Max retries exceeded with url: /v1/metrics?token=hunter2 (Caused by NewConnectionError())",
    # DSNs of libpq and of others
    "host=db user=clorad password=hunter2 dbname=clorad",
    "host=db1,db2 PASSWORD = hunter2",
    "host=db password='two words hunter2' sslmode=require",
    r"host=db password='it\'s hunter2' sslmode=require",
    r"host=db password=two\ hunter2",
    "host=db sslpassword=hunter2",
    "Server=db;User Id=clorad;Password=hunter2;",
    # tables in a text
    "{'sasl_plain_password': 'hunter2', 'api_version': None}",
    '{"client_secret": "hunter2"}',
    '{"api-key":"hunter2"}',
]  # fmt: skip

PLAIN = [
    "",
    "records kept",
    "http://127.0.0.1:8000",
    "sqlite:////var/lib/clorad/clorad.db",
    "postgresql+psycopg://db1:5432,db2:5432/clorad?sslmode=verify-full&target_session_attrs=read-write",
    "postgresql+psycopg:///clorad?host=/var/run/postgresql&port=5433",
    "http://[::1]:8000/v1/models",
    "tokens = 512, key = value",
    "kafka.options.sasl_plain_password: got str; must be text",
    "event ide#17 of ann@example.org",
    "what? a=b; c=d",
    "billing@v7-3fa2c1",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_secret_is_masked_however_it_is_spelt(text: str) -> None:
    assert SECRET in text
    shown = mask(text)
    assert SECRET not in shown
    assert MASK in shown


@pytest.mark.parametrize("text", PLAIN)
def test_a_text_without_a_secret_stays_as_it_is(text: str) -> None:
    assert mask(text) == text


def test_what_helps_to_find_a_fault_stays_beside_the_mask() -> None:
    assert mask("postgresql+psycopg://me:hunter2@db:5432/clorad?sslmode=require&password=x") == (
        f"postgresql+psycopg://{MASK}@db:5432/clorad?sslmode=require&password={MASK}"
    )
    assert mask("host=db password='a b' dbname=clorad") == f"host=db password={MASK} dbname=clorad"


@pytest.mark.parametrize(
    "name",
    [
        *("sasl_plain_password", "SSL_PASSWORD", "sasl.password", "passwd", "client_secret", "secretKey"),
        *("hf_token", "api_key", "apiKey", "x-api-key", "sasl_jaas_config", "sasl_plain_username", "key"),
        *("Authorization", "aws_access_key_id", "credentials", "passphrase", "cookie", "sig"),
    ],
)
def test_an_option_with_the_name_of_a_secret_is_masked_whole(name: str) -> None:
    assert is_secret_name(name)
    assert mask_values({name: SECRET, "inner": [{name: 4711}]}) == {name: MASK, "inner": [{name: MASK}]}


@pytest.mark.parametrize(
    "name",
    [
        *("tokens_max", "security_protocol", "ssl_cafile", "tokens_per_hour_max", "api_version", "group"),
        *("public_key", "publicKey"),
    ],
)
def test_an_option_with_another_name_is_shown(name: str) -> None:
    assert not is_secret_name(name)


def test_settings_are_shown_without_any_secret() -> None:
    settings = Settings(
        ledger={"url": "postgresql+psycopg://me:hunter2@db/clorad?sslpassword=hunter2"},
        fleet={"replicas": ["http://hunter2@r:1", "http://r:2/?token=hunter2"]},
        telemetry={"otlp_endpoint": "https://otel:4318/?token=hunter2"},
        kafka={"options": {"ssl_password": "hunter2", "nested": {"sasl_token": "hunter2"}, "api_version": 4}},
        agents={"billing-token": {"capture": True}},
    )
    shown = masked(settings)
    assert SECRET not in json.dumps(shown)
    assert SECRET not in repr(settings)
    assert shown["kafka"]["options"]["api_version"] == 4
    assert shown["agents"]["billing-token"]["capture"] is True, "an agent's name is no option's"


@pytest.fixture
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers, root.level, sys.excepthook, threading.excepthook
    yield
    structlog.reset_defaults()
    root.handlers, root.level, sys.excepthook, threading.excepthook = before


@pytest.mark.usefixtures("_logging_as_it_was")
@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_log_line_holds_a_secret(log_format: Any, capsys: pytest.CaptureFixture[str]) -> None:
    start_logging(TelemetrySettings(log_format=log_format), role="learner")
    log = structlog.get_logger("daemon.test")
    for text in HOSTILE:
        log.info(text, why=text, replicas=[text], nested={"inner": text})
        logging.getLogger("opentelemetry.test").warning("push failed: %s", text)
    log.info("hello", api_key="hunter2", token=7, options={"ssl_password": "hunter2"})
    try:
        raise OSError(HOSTILE[0])
    except OSError:
        log.exception("a fault")
        logging.getLogger("urllib3.test").exception("a library's fault")
    lines = capsys.readouterr().err
    assert len(lines.splitlines()) >= 2 * len(HOSTILE) + 3
    assert SECRET not in lines
    assert MASK in lines


@pytest.mark.parametrize("text", HOSTILE)
def test_a_fault_line_and_the_health_port_hold_no_secret(text: str) -> None:
    assert SECRET not in json.dumps(fault_line(OSError(text)))
    health = Health()
    health.ready("ledger", False, text)
    assert SECRET not in json.dumps(health.readiness())


def test_a_crash_trace_of_a_command_holds_no_secret(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from daemon.cli.app import main\n"
        "from daemon.commands import status\n"
        "def show(*_, **__): raise ValueError('cannot open postgresql://me:' + 'hunter2' + '@db/x')\n"
        "status.show = show\n"
        "sys.argv = ['clorad', 'status']\n"
        "main()\n"
    )
    (tmp_path / "crash.py").write_text(script)
    crashed = subprocess.run(
        [sys.executable, tmp_path / "crash.py"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert crashed.returncode == 1
    assert "Traceback" in crashed.stderr
    assert f"ValueError: cannot open postgresql://{MASK}@db/x" in crashed.stderr


def settings_of(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting's dotted name and annotation, in sections and in tables of sections."""
    for name, field in model.model_fields.items():
        yield f"{path}{name}", field.annotation
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from settings_of(inner, f"{path}{name}.")


def holds_plain_text(annotation: Any) -> bool:
    """Whether a value of this type may be, or contain, a plain `str`; a table's names may be."""
    inner = get_args(annotation)[1:] if get_origin(annotation) is dict else get_args(annotation)
    return annotation is str or any(map(holds_plain_text, inner))


def unprotected(model: type[BaseModel]) -> list[str]:
    """The settings that have a secret's name, but would be printed."""
    return [
        name
        for name, annotation in settings_of(model)
        if not name.endswith("public_key")
        and any(word in name.rpartition(".")[2].lower() for word in ("key", "token", "secret", "password"))
        and holds_plain_text(annotation)
    ]


def test_no_setting_that_is_named_a_secret_is_a_plain_text() -> None:
    assert len(list(settings_of(Settings))) > 50
    assert unprotected(Settings) == []


def test_a_secret_among_new_settings_would_be_seen() -> None:
    class Section(BaseModel):
        api_key: str = ""
        admin_tokens: tuple[str, ...] = ()
        hidden_key: SecretStr = SecretStr("")
        keys: dict[str, SecretStr] = {}
        tokens_max: int = 0

    class Root(BaseModel):
        section: Section = Section()
        sections: dict[str, Section] = {}

    assert unprotected(Root) == [
        "section.api_key",
        "section.admin_tokens",
        "sections.api_key",
        "sections.admin_tokens",
    ]


def test_what_pydantic_hides_looks_like_what_we_mask() -> None:
    assert str(SecretStr("x")) == MASK


def test_all_who_show_texts_mask_them_with_the_one_function() -> None:
    for module in ("commands/settings", "process/telemetry", "process/health", "cli/app"):
        tree = ast.parse((ROOT / "daemon" / f"{module}.py").read_text())
        imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert "daemon.masking" in imported, module


def test_a_key_of_the_gateways_clients_is_known_by_its_form_and_keeps_its_id() -> None:
    key = new_key_text()
    for text in (f"client sent {key.text} twice", f"GET /v1/models?x={key.text}", f"Bearer {key.text[:40]}"):
        masked_text = mask(text)
        assert key.text.rpartition("_")[2][:8] not in masked_text
        assert "clorad_" not in masked_text or key.id in masked_text
