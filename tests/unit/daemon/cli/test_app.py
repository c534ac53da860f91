"""The command line itself: options before and after the command."""

import os
import sys
from pathlib import Path

import pytest

from daemon.cli.app import config_first, main
from tests.unit.daemon.conftest import Clorad


def test_the_version_is_said(clorad: Clorad) -> None:
    from daemon import __version__

    assert clorad("--version").out == f"clorad {__version__}\n"


def test_the_settings_file_may_be_named_before_or_after_the_command(clorad: Clorad, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text('[ledger]\nurl = "sqlite:///elsewhere.db"\n')
    for words in (
        ["--config", "other.toml", "status"],
        ["status", "--config=other.toml"],
        ["status", "--config", "other.toml"],
    ):
        assert "elsewhere.db (ledger.url)" in clorad(*words).err
    assert config_first(["send", "--", "--config", "x"]) == ["send", "--", "--config", "x"]
    assert config_first(["a", "--config"]) == ["--config", "a"]


def test_whatever_a_command_writes_is_closed_to_other_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["clorad", "--version"])
    before = os.umask(0o022)
    try:
        with pytest.raises(SystemExit):
            main()
        assert os.umask(0o022) == 0o077
    finally:
        os.umask(before)
