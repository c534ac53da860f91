"""The bridge's settings: what is refused before it starts, and what its events carry."""

import base64
import threading
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from daemon.process.health import Health
from daemon.process.role_process import RoleRefused
from daemon.roles.bridge import run, tool_options
from daemon.setting_groups.bridges import BridgeSettings, ToolSettings
from daemon.settings import Settings
from tests.unit.daemon.conftest import Clorad
from tests.unit.feedback.intake_builder import wait_until
from tests.unit.feedback.sending.answering_server import Answer, build_answering_server

TOOL = {"kind": "label-studio", "secret": "s3cret", "agent": "billing", "people": {"5": "ann"}}


def test_a_tool_is_read_as_its_settings_say() -> None:
    options = tool_options("ls", ToolSettings(**TOOL | {"names": {"x": "correction"}, "good": {"Prima"}}))
    assert (options.name, options.agent, options.people) == ("ls", "billing", {"5": "ann"})
    assert (options.use_of("x"), options.use_of("Comment"), options.use_of("stars")) == (
        "correction",
        "comment",
        "opinion",
    )
    assert options.good == {"prima"}


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"kind": "jira"}, "kind"),
        ({"secret": None}, "needs `secret`"),
        ({"kind": "mlflow"}, "needs `url`"),
        ({"kind": "phoenix", "url": "ftp://x"}, "url"),
        ({"kind": "langfuse", "url": "http://127.0.0.1:3000", "user": "pk"}, "needs `user`"),
        ({"kind": "argilla", "secret": "not base64!"}, "base64"),
        ({"secret": "two\nlines"}, "secret"),
        ({"score_min": 1.0}, "below score_max"),
        ({"names": {"x": "guess"}}, "names"),
        ({"people": {"5": ""}}, "people"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(changed: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why) as refused:
        ToolSettings(**TOOL | changed)
    assert "s3cret" not in str(refused.value)


def test_names_of_tools_can_stand_in_a_path() -> None:
    with pytest.raises(ValidationError):
        BridgeSettings(tools={"../x": TOOL})


def test_without_tools_the_bridge_does_not_start() -> None:
    with pytest.raises(RoleRefused, match=r"bridges\.tools"):
        run(Settings(), threading.Event(), Health())


def test_a_signer_that_may_not_speak_for_the_bridge_is_refused() -> None:
    signer = {"secret": base64.b64encode(b"s" * 32).decode(), "sources": ["clorad-cli"]}
    settings = Settings(
        feedback={"sign_as": "ops", "signers": {"ops": signer}}, bridges={"tools": {"ls": TOOL}}
    )
    with pytest.raises(RoleRefused, match=r"feedback\.signers\.ops\.sources: needs bridge/ls"):
        run(settings, threading.Event(), Health())


def test_a_journal_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    settings = Settings(bridges={"path": tmp_path / "taken", "tools": {"ls": TOOL}})
    with pytest.raises(RoleRefused, match=r"bridges\.path"):
        run(settings, threading.Event(), Health())


def test_the_bridge_polls_and_ends_when_told_to(tmp_path: Path) -> None:
    with build_answering_server() as server:
        server.answers = [Answer(200, b'{"data": [], "meta": {}}')]
        tool = {"kind": "langfuse", "url": server.url, "user": "pk", "key": "sk", "agent": "billing"}
        settings = Settings(bridges={"path": tmp_path, "port": 0, "tools": {"scores": tool}})
        stopping, health = threading.Event(), Health()
        role = threading.Thread(target=run, args=(settings, stopping, health))
        role.start()
        wait_until(lambda: health.readiness()[0] and len(server.asked) > 0)
        stopping.set()
        role.join(timeout=30.0)
        assert not role.is_alive()
    assert (tmp_path / "scores.jsonl").exists()


def test_secrets_are_not_shown(clorad: Clorad, tmp_path: Path) -> None:
    (tmp_path / "clorad.toml").write_text(
        '[bridges.tools.ls]\nkind = "label-studio"\nsecret = "s3cret"\nagent = "billing"\n'
    )
    result = clorad("config")
    assert result.code == 0, result.err
    assert "s3cret" not in result.out
    assert "label-studio" in result.out
