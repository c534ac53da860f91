"""deploy/systemd: the unit closes the machine to the roles, and asks for what they need."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from daemon.commands.running import gateway_stop_s_max
from daemon.settings import Settings

FOLDER = Path(__file__).parents[3] / "deploy" / "systemd"
UNIT = FOLDER / "clorad@.service"
DROP_INS = sorted(FOLDER.glob("*.service.d/*.conf"))
EXPOSURE_MAX = 3.0


def service(path: Path) -> dict[str, str]:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(path)
    return dict(parser["Service"])


def test_nobody_but_clorad_reads_what_it_writes() -> None:
    unit = service(UNIT)
    assert unit["UMask"] == "0077"
    assert unit["StateDirectoryMode"] == "0700"
    assert unit["LimitCORE"] == "0", "a core dump holds people's texts and keys"


def test_the_unit_bounds_files_and_memory() -> None:
    unit = service(UNIT)
    assert int(unit["LimitNOFILE"]) >= 4096
    assert unit["MemoryMax"]
    assert unit["MemorySwapMax"] == "0"


def test_the_gateway_may_finish_its_answers() -> None:
    assert int(service(UNIT)["TimeoutStopSec"]) >= gateway_stop_s_max(Settings())


def test_the_learner_alone_sees_devices() -> None:
    assert service(UNIT)["PrivateDevices"] == "yes"
    devices = [drop_in.parent.name for drop_in in DROP_INS if "DeviceAllow" in drop_in.read_text()]
    assert devices == ["clorad@learner.service.d"]


def test_the_bridge_is_started_by_its_own_command() -> None:
    lines = (FOLDER / "clorad@bridge.service.d" / "command.conf").read_text().splitlines()
    usual = service(UNIT)["ExecStart"]
    assert lines[-2:] == ["ExecStart=", f"ExecStart={usual.replace('%i', 'bridge run')}"]


def exposure(unit: Path) -> float:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    [level] = re.findall(r"exposure level for \S+: ([0-9.]+)", done.stdout)
    return float(level)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing")
def test_systemd_finds_little_exposed(tmp_path: Path) -> None:
    assert exposure(UNIT) <= EXPOSURE_MAX
    for drop_in in DROP_INS:  # offline, systemd reads drop-ins beside a unit of the full name
        folder = tmp_path / drop_in.parent.name
        folder.mkdir()
        unit = tmp_path / drop_in.parent.name.removesuffix(".d")
        shutil.copy(UNIT, unit)
        shutil.copy(drop_in, folder)
        assert exposure(unit) <= EXPOSURE_MAX
