"""`clorad replay` on a pass that a real learner trained."""

import sqlite3
import threading
from pathlib import Path

import pytest

from daemon.learning.learner import Learner
from daemon.learning.loop import start_pass
from engine.warm_engine import WarmEngine
from tests.unit.daemon.conftest import Clorad
from tests.unit.daemon.learning.test_loop import database, engine, learner, make_due
from tests.unit.engine import tiny_base

__all__ = ["database", "engine", "learner"]  # fixtures


@pytest.fixture
def trained(learner: Learner, engine: WarmEngine, tmp_path: Path, clorad: Clorad) -> Clorad:
    """Two agents were taught in pass 1, with these settings."""
    make_due(learner.database, "billing", "sql")
    assert start_pass(learner, threading.Event())
    base = tiny_base.build_base_directory(tmp_path / "base")
    (tmp_path / "clorad.toml").write_text(
        f'[engine]\nbase = "{base}"\nslots = 4\nrank_max = 4\nthreads = 1\ntokens_max = 512\n'
        f'[store]\npath = "{learner.store}"\n'
    )
    return clorad


def test_a_recorded_pass_gives_the_same_hashes_again(trained: Clorad) -> None:
    result = trained("replay", "1", "--json")
    assert result.code == 0, result.err
    assert (result.json["same"], len(result.json["turns"])) == (True, 2)
    assert all(turn["recorded"] == turn["again"] for turn in result.json["turns"])
    assert "DIFFERENT" not in trained("replay", "1").out


def test_another_hash_is_said_and_the_exit_code_says_so(trained: Clorad, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "clorad.db") as connection:
        connection.execute("UPDATE versions SET hash = 'f' || substr(hash, 2) WHERE agent = 'sql'")
        connection.execute("UPDATE versions SET hash = 'e' || substr(hash, 2) WHERE agent = 'billing'")
    result = trained("replay", "1")
    assert result.code == 1
    assert "DIFFERENT" in result.out
    assert result.err == "clorad: pass 1 gave other adapters this time\n"


def test_settings_of_another_form_cannot_repeat_it_and_are_named(trained: Clorad) -> None:
    result = trained("replay", "1", env={"CLORAD_ENGINE__DTYPE": "bfloat16"})
    assert (result.code, result.out) == (1, "")
    assert "pass 1 cannot be repeated here" in result.err
    assert "bfloat16" in result.err
