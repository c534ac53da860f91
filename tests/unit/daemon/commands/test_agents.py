"""`clorad agents`: showing and declaring agents."""

import re
from contextlib import closing
from pathlib import Path

import pytest

from ledger.database import Database
from ledger.events import Trust
from ledger.learning.agents import all_agents
from tests.unit.daemon.conftest import Clorad

pytestmark = pytest.mark.usefixtures("story")


class TestAgents:
    def test_they_are_listed(self, clorad: Clorad) -> None:
        assert re.search(r"billing +v1-\w{6}", clorad("agents").out)
        assert clorad("agents", "list").out.splitlines()[0] == clorad("agents").out.splitlines()[0]
        assert [agent["name"] for agent in clorad("agents", "--json").json] == ["billing", "coder", "sql"]

    def test_one_is_added_on_the_configured_base(self, clorad: Clorad, tmp_path: Path) -> None:
        base = tmp_path / "base"
        base.mkdir()
        (base / "config.json").write_text("{}")
        (base / "model.safetensors").write_bytes(b"weights")
        words = ("--scorer", "json", "--recipe", "rank=4", "--capture", "--tokens-per-hour-max", "5000")
        result = clorad("agents", "add", "new", *words, env={"CLORAD_ENGINE__BASE": str(base)})
        assert (result.code, "declared" in result.out) == (0, True), result.err
        [new] = [agent for agent in clorad("agents", "--json").json if agent["name"] == "new"]
        assert (new["recipe"], new["scorer"], new["capture"]) == ({"rank": 4}, "json", True)
        assert new["tokens_per_hour_max"] == 5000
        assert re.search(r"new .* 5,000/h ", clorad("agents").out)
        assert "learns on base bbbbbbbbbbbb" in clorad("agents", "add", "sql").err

    def test_whom_an_agent_believes_stays_as_the_settings_say(self, clorad: Clorad, tmp_path: Path) -> None:
        base = tmp_path / "base"
        base.mkdir()
        (base / "config.json").write_text("{}")
        (base / "model.safetensors").write_bytes(b"weights")
        (tmp_path / "clorad.toml").write_text('[agents.new.trust]\nteach = "signed"\n')
        result = clorad("agents", "add", "new", env={"CLORAD_ENGINE__BASE": str(base)})
        assert result.code == 0, result.err
        with (
            closing(Database(f"sqlite:///{tmp_path / 'clorad.db'}")) as database,
            database.read() as connection,
        ):
            trust = all_agents(connection)["new"].trust
        assert trust.teach is Trust.SIGNED

    @pytest.mark.parametrize(
        "wrong",
        [["--scorer", "guess"], ["--recipe", "rang=4"], ["--recipe", "rank"], ["--recipe", "rank=-1"]],
    )
    def test_what_cannot_be_is_refused_by_name(self, clorad: Clorad, wrong: list[str]) -> None:
        result = clorad("agents", "add", "new", *wrong)
        assert result.code == 2
        assert wrong[0] in result.err

    def test_without_a_base_it_is_refused(self, clorad: Clorad) -> None:
        result = clorad("agents", "add", "new")
        assert result.code == 78
        assert "engine.base" in result.err
