"""What `clorad doctor` finds at a real vLLM: nothing where all fits, and each of three faults by its name."""

import time
from pathlib import Path

import pytest

from daemon.doctor.base_checks import LocalBase
from daemon.doctor.examination import examine
from daemon.doctor.replica_checks import replica_checks
from daemon.settings import Settings
from tests import vllm_server
from tests.vllm_server import RealVLLM

pytestmark = pytest.mark.vllm


def faults_of(vllm: RealVLLM, store: Path, *, base: Path, rank: int = 16, agents: int = 3) -> list[str]:
    """The faults of the replica for an installation with these settings. None of its checks is skipped."""
    store.mkdir(exist_ok=True)
    settings = Settings.model_validate(
        {
            "store": {"path": store},
            "engine": {"base": base, "rank_max": rank},
            "fleet": {"replicas": [vllm.url]},
        }
    )
    local = LocalBase(settings, time.time())
    examination = examine([replica_checks(settings, vllm.url, base=local, agents=agents)])
    assert [result.why for result in examination.skipped] == []
    return [finding.name for finding in examination.findings]


def test_a_replica_that_fits_the_settings_has_no_fault(vllm: RealVLLM, tmp_path: Path) -> None:
    assert faults_of(vllm, tmp_path / "adapters", base=vllm.base) == []


def test_faults_of_a_replica_are_named(vllm: RealVLLM, tmp_path: Path) -> None:
    store = tmp_path / "adapters"
    assert faults_of(vllm, store, base=vllm.base, rank=32) == ["replica-rank"]
    assert faults_of(vllm, store, base=vllm.base, agents=7) == ["replica-max-loras"]
    other = vllm_server.write_base(tmp_path / "other", seed=5)
    assert faults_of(vllm, store, base=other) == ["replica-base"]
