"""`clorad engine selftest` and `replay`: what an operator sees, and the exit code."""

from pathlib import Path

import pytest
import torch

from daemon.commands.engine import show
from daemon.console import CommandFailed
from engine.selftest import Check
from tests.unit.daemon.conftest import Clorad
from tests.unit.engine import tiny_base


def test_a_sound_machine_passes_on_the_configured_base(clorad: Clorad, tmp_path: Path) -> None:
    base = tiny_base.build_base_directory(tmp_path / "base")
    (tmp_path / "clorad.toml").write_text(f'[engine]\nbase = "{base}"\nthreads = 1\n')
    result = clorad("engine", "selftest", "--json")
    assert result.code == 0, result.err
    assert result.json["kept"] is True
    assert (result.json["base"], result.json["dtype"], result.json["threads"]) == (str(base), "float32", 1)
    assert "gradients equal PEFT's" in [check["promise"] for check in result.json["checks"]]
    table = clorad("engine", "selftest").out
    assert table.count("kept") == len(result.json["checks"])


@pytest.mark.parametrize("as_json", [True, False])
def test_a_broken_promise_is_named_and_the_exit_code_says_so(
    as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    checks = [
        Check(promise="an idle tenant stays bit-identical", kept=True, detail="the same", seconds=0.1),
        Check(promise="a repeat gives the same bits", kept=False, detail="it did not", seconds=0.2),
    ]
    with pytest.raises(CommandFailed, match="breaks 1 promise here") as failure:
        show(checks, {"device": "cpu"}, as_json=as_json)
    assert failure.value.code == 1
    output = capsys.readouterr().out
    assert "it did not" in output
    assert ('"kept": false' if as_json else "BROKEN") in output


@pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a GPU")
def test_a_device_that_is_not_there_is_refused_in_one_line(clorad: Clorad, tmp_path: Path) -> None:
    base = tiny_base.build_base_directory(tmp_path / "base")
    result = clorad("engine", "selftest", "--device", "cuda", env={"CLORAD_ENGINE__BASE": str(base)})
    assert (result.code, result.out) == (1, "")
    assert "no CUDA device" in result.err
    assert result.err.count("\n") == 1


def test_a_base_that_is_not_there_is_refused_in_one_line(clorad: Clorad) -> None:
    result = clorad("engine", "selftest", env={"CLORAD_ENGINE__BASE": "nowhere"})
    assert (result.code, result.out) == (1, "")
    assert "nothing can be tried: engine.base: no directory" in result.err
    assert result.err.count("\n") == 1


@pytest.mark.usefixtures("story")
def test_an_unknown_pass_cannot_be_replayed(clorad: Clorad) -> None:
    assert clorad("replay", "99").err == "clorad: no pass 99\n"
