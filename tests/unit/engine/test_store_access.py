"""The adapter store is its owner's, or its group's too; weights and settings never differ in that."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.adapter_files import publish
from engine.store_access import StoreRefused, prepare_store

FILES = ("adapter_model.safetensors", "adapter_config.json", "optimizer.safetensors", "manifest.json")


@pytest.fixture(params=[0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def build_version(agent: Path, name: str) -> Path:
    draft = agent / f".draft-{name}"
    draft.mkdir(parents=True)
    for number, file in enumerate(FILES):
        (draft / file).touch(
            mode=0o600 if number % 2 else 0o644
        )  # safetensors writes 0600, others by the umask
    return publish(draft, agent / name)


def modes(folder: Path) -> set[str]:
    return {oct(path.stat().st_mode & 0o7777) for path in folder.iterdir() if path.is_file()}


def mode(folder: Path) -> str:
    return oct(folder.stat().st_mode & 0o7777)


def test_without_a_group_a_new_store_is_its_owners(tmp_path: Path, umask: None) -> None:
    store = tmp_path / "store"
    prepare_store(store, None)
    version = build_version(store / "billing", "v1-0a1b2c")
    assert [mode(folder) for folder in (store, store / "billing", version)] == ["0o700"] * 3
    assert modes(version) == {"0o600"}


def test_with_a_group_it_reads_every_file_and_nobody_else_does(tmp_path: Path, umask: None) -> None:
    store = tmp_path / "store"
    prepare_store(store, str(os.getgid()))
    version = build_version(store / "billing", "v1-0a1b2c")
    assert [mode(folder) for folder in (store, store / "billing", version)] == ["0o2750"] * 3
    assert modes(version) == {"0o640"}


def test_versions_from_before_get_the_group_at_the_next_start(tmp_path: Path, umask: None) -> None:
    store = tmp_path / "store"
    prepare_store(store, None)
    version = build_version(store / "billing", "v1-0a1b2c")
    prepare_store(store, str(os.getgid()))
    assert [mode(folder) for folder in (store, store / "billing", version)] == ["0o2750"] * 3
    assert modes(version) == {"0o640"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to a group it is not in")
def test_files_belong_to_the_group(tmp_path: Path) -> None:
    store = tmp_path / "store"
    prepare_store(store, "4711")
    version = build_version(store / "billing", "v1-0a1b2c")
    assert {path.stat().st_gid for path in (store, version.parent, version, *version.iterdir())} == {4711}


def test_a_group_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreRefused, match="no group nobody-has-this"):
        prepare_store(tmp_path / "store", "nobody-has-this")
