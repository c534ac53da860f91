"""The scorer that an agent names is found, or refused with the names there are."""

from pathlib import Path

import pytest

from serving.scoring.entry_points import EntryPointScorer
from serving.scoring.registry import ScorerRegistry, scorer_names
from serving.scoring.scorers import UnknownScorer
from serving.scoring.verifier import HttpVerifier
from tests.unit.serving.scoring.scorer_builder import install_functions


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ScorerRegistry:
    install_functions(tmp_path, monkeypatch, exact="tests_own_scorers:length")
    verifier = lambda: HttpVerifier("http://127.0.0.1:9", headers={}, wait_s_max=1.0)  # noqa: E731
    return ScorerRegistry({"policy": verifier}, wait_s_max=1.0)


def test_each_kind_of_scorer_is_opened_by_its_name(registry: ScorerRegistry) -> None:
    with registry.opened("length") as function, registry.opened("policy") as verifier:
        assert isinstance(function, EntryPointScorer)
        assert isinstance(verifier, HttpVerifier)
    with registry.opened("auto") as built_in:
        assert built_in is None


def test_no_entry_point_takes_the_name_of_a_built_in_scorer(registry: ScorerRegistry) -> None:
    with registry.opened("exact") as scorer:
        assert scorer is None
    assert scorer_names(["policy"]).count("exact") == 1


def test_an_unknown_scorer_is_refused_with_the_names_there_are(registry: ScorerRegistry) -> None:
    with pytest.raises(UnknownScorer, match=r"guess is no scorer; there are auto, .*length.*policy"):
        registry.check("guess")
