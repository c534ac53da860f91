"""deploy/Containerfile and its requirements: what is installed is named to the bit."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CONTAINERFILE = (ROOT / "deploy" / "Containerfile").read_text()
REQUIREMENTS = ("requirements-roles.txt", "requirements-learner.txt")


def blocks(name: str) -> list[str]:
    """Each package of a requirements file with its hashes."""
    text = (ROOT / "deploy" / name).read_text()
    return re.findall(r"^[a-z0-9].*(?:\n    .*)*", text, re.MULTILINE)


def versions(name: str) -> dict[str, str]:
    pins = (re.match(r"([a-z0-9._-]+)(?:\[[a-z0-9,_-]+\])?==(\S+)", block) for block in blocks(name))
    return {pin[1]: pin[2] for pin in pins if pin}


def test_images_begin_with_a_version_and_not_with_whatever_is_newest() -> None:
    bases = re.findall(r"^FROM (\S+)", CONTAINERFILE, re.MULTILINE)
    assert bases
    for base in bases:
        assert base == "roles" or re.search(r":\d+\.\d+\.\d+-|@sha256:[0-9a-f]{64}$", base), base


def test_pip_takes_nothing_without_its_hash() -> None:
    installs = re.findall(r"^RUN pip install (.*)$", CONTAINERFILE, re.MULTILINE)
    assert len(installs) == 3
    for arguments in installs:
        is_own_code = arguments.endswith("--no-deps --no-build-isolation .")
        assert is_own_code or "--require-hashes -r" in arguments


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_every_package_has_one_version_and_hashes_and_no_address(name: str) -> None:
    assert len(versions(name)) == len(blocks(name)) > 20
    for block in blocks(name):
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), block[:60]
        assert "://" not in block
        assert "--index-url" not in block


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_versions_are_those_that_are_tested(name: str) -> None:
    tested = dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M))
    tested = {package.lower().replace("_", "-"): version for package, version in tested.items()}
    others = {
        package: version
        for package, version in versions(name).items()
        if tested.get(package, version) != version
    }
    assert others == {}


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_every_package_that_clorad_needs_is_in_the_image(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [re.match(r"[A-Za-z0-9._-]+", dependency) for dependency in project["dependencies"]]
    names = {match[0].lower().replace("_", "-") for match in needed if match}
    assert len(names) > 10
    assert names - versions(name).keys() == set()


def test_the_file_for_roles_has_no_torch() -> None:
    assert "torch" not in versions("requirements-roles.txt")
    assert "torch" in versions("requirements-learner.txt")
