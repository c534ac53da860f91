"""What a command loads is part of its contract: answers at once, and never torch where it is not needed."""

import json
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
HEAVY = (
    "torch",
    "transformers",
    "peft",
    "safetensors",
    "kafka",
    "starlette",
    "uvicorn",
    "aiohttp",
    "alembic",
    "opentelemetry",
)
CPU_S_MAX = 1.5  # about 0.3 s where nothing else runs; byte code may not be cached

PROBE = """
import json, resource, sys
sys.argv = ["clorad", *sys.argv[1:]]
sys.stdout = sys.stderr
try:
    from daemon.cli.app import main
    main()
except SystemExit:
    pass
used = resource.getrusage(resource.RUSAGE_SELF)
sys.__stdout__.write(json.dumps({"modules": sorted(sys.modules), "cpu_s": used.ru_utime + used.ru_stime}))
"""

AT_TORCH = """
import os, sys
class AtTorch:
    def find_spec(name, *_):
        if name == "torch":
            print(os.environ.get("OMP_WAIT_POLICY"), os.environ.get("GOMP_SPINCOUNT"), flush=True)
            os._exit(0)
sys.meta_path.insert(0, AtTorch)
sys.argv = ["clorad", *sys.argv[1:]]
from daemon.cli.app import main
main()
"""


WITHOUT_ENGINE = """
import sys
from importlib.machinery import PathFinder
class Without(PathFinder):
    def find_spec(name, *more):
        absent = name.partition(".")[0] in ("torch", "transformers", "peft", "safetensors", "numpy")
        return None if absent else PathFinder.find_spec(name, *more)
sys.meta_path[sys.meta_path.index(PathFinder)] = Without
"""


def loaded_by(*words: str, cwd: Path) -> tuple[set[str], float]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *words],
        cwd=cwd,
        env={"PATH": "", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    report = json.loads(done.stdout)
    return set(report["modules"]), report["cpu_s"]


@pytest.mark.parametrize(
    "words",
    [("--help",), ("--version",), ("send", "--help"), ("status",), ("versions", "billing"), ("config",)],
)
def test_looking_loads_nothing_heavy(words: tuple[str, ...], story: Path) -> None:
    modules, cpu_s = loaded_by(*words, cwd=story.parent)
    assert modules.isdisjoint(HEAVY)
    assert cpu_s < CPU_S_MAX


def test_help_loads_nothing_of_the_ledger_but_names_of_errors_rights_and_gates(tmp_path: Path) -> None:
    modules, _ = loaded_by("--help", cwd=tmp_path)
    assert modules.isdisjoint({"sqlalchemy", "pydantic", "structlog"})
    of_ledger = {name for name in modules if name.startswith("ledger")}
    names = {"ledger.errors", "ledger.access.rights", "ledger.versions.gate_modes"}
    assert of_ledger == {"ledger", "ledger.access", "ledger.versions", *names}


def test_sending_loads_no_model(tmp_path: Path) -> None:
    modules, _ = loaded_by("send", "correction", "--agent", "billing", cwd=tmp_path)
    assert modules.isdisjoint({"torch", "transformers"})


@pytest.mark.parametrize("words", [("engine", "selftest"), ("replay", "1"), ("learner",)])
def test_torch_is_told_how_to_wait_before_it_is_loaded(words: tuple[str, ...], story: Path) -> None:
    (story.parent / "base").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", AT_TORCH, *words],
        cwd=story.parent,
        env={"PATH": "", "PYTHONPATH": str(ROOT), "GOMP_SPINCOUNT": "7"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.split() == ["passive", "7"], "what the operator set stays"


def test_what_does_not_train_needs_no_engine_installed() -> None:
    code = WITHOUT_ENGINE + (
        "import importlib\n"
        "for name in sys.argv[1:]:\n"
        "    try: importlib.import_module(name)\n"
        "    except ModuleNotFoundError as fault: print(name)\n"
    )
    packages = ("ledger", "feedback", "rewards", "serving", "daemon")
    files = [path for package in packages for path in (ROOT / package).rglob("*.py")]
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files}
    names -= {name for name in names if ".migrations." in name or name.endswith("__main__")}
    done = subprocess.run(
        [sys.executable, "-c", code, *sorted(names)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.split() == [], "torch is loaded when an engine is, not when a module is"


@pytest.mark.parametrize(
    ("words", "code"), [(("engine", "selftest"), 1), (("replay", "1"), 1), (("learner",), 78)]
)
def test_what_trains_says_what_to_install(words: tuple[str, ...], code: int, story: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_ENGINE + "from daemon.cli.app import main; main()", *words],
        cwd=story.parent,
        env={"PATH": "", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "install clorad[engine]" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("package", ["ledger", "feedback", "rewards", "engine", "serving", "daemon"])
def test_packages_import_nothing_by_themselves(package: str) -> None:
    script = (
        f"import sys; before = set(sys.modules); import {package}; print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == [package]


@pytest.mark.parametrize("package", ["ledger", "feedback", "rewards", "engine", "serving", "daemon"])
def test_our_top_level_names_are_ours_alone(package: str) -> None:
    # python-daemon, for one, would install another package of the name `daemon` over ours.
    assert set(packages_distributions().get(package, ["clorad"])) == {"clorad"}
    module = __import__(package)
    assert Path(module.__file__ or "").parent == ROOT / package
