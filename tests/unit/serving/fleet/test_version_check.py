"""Checks of versions before a load; the load itself is in test_reconciler.py."""

from serving.fleet.version_check import VersionChecker
from tests.unit.serving.serving_environment import BASE_HASH, ServingEnvironment


def test_a_version_made_for_another_base_is_refused_with_both_hashes(environment: ServingEnvironment) -> None:
    environment.agent("billing")
    champion = environment.champion("billing")
    complaint = VersionChecker(environment.store, "f" * 64).check(champion).complaint
    assert complaint == f"made for base {BASE_HASH[:12]}, the fleet serves {'f' * 12}"


def test_versions_that_nobody_asks_about_are_not_remembered_for_ever(environment: ServingEnvironment) -> None:
    environment.agent("billing")
    checker = VersionChecker(environment.store, BASE_HASH, checks_max=2)
    first, second, third = (environment.champion("billing") for _ in range(3))
    for version in (first, second, first, third):
        assert checker.check(version).complaint is None
    for version in (first, second, third):
        (environment.store / version.path / "manifest.json").write_text("torn")
    assert [checker.check(version).complaint is None for version in (first, third, second)] == [
        True,
        True,
        False,
    ]
