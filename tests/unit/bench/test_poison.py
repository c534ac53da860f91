"""The attack benchmark: its bound, that one attacker changes nothing, and that finished cells are kept."""

import json
import secrets
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench.finished_runs import append_run
from bench.poison import WORLD, cells_of, figures, main, run_cell
from bench.poison_history import Cell
from examples.house_rules.world_file import read_world

ATTACK = Cell(attackers="1", events=10, sharing=False, authors=4, authors_min=2, engine=False)


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every ledger has the same key: another one may hold out fewer corrections than the gate needs."""
    monkeypatch.setattr(secrets, "token_hex", lambda count: "17" * count)


def test_what_one_attacker_says_waits_and_the_honest_rule_beside_it_is_promoted() -> None:
    world = read_world(WORLD)
    alone = run_cell(world, ATTACK, [0], None)
    assert (alone.promoted, alone.waited) == (0, 1)
    shared = run_cell(world, replace(ATTACK, sharing=True, events=30), [0], None)
    assert (shared.promoted, shared.verdicts) == (0, {"promote": 1})


def test_where_one_person_is_enough_the_attack_is_trained_on() -> None:
    cell = run_cell(read_world(WORLD), replace(ATTACK, authors_min=1, events=30), [0], None)
    assert cell.waited == 0


def test_the_figures_count_attackers_who_are_alone_apart_from_those_who_collude() -> None:
    cells = [
        replace(ATTACK, tried=20, verdicts={}),
        replace(ATTACK, attackers="2", tried=20, promoted=3, verdicts={}),
        replace(ATTACK, attackers="0", tried=4, promoted=4, verdicts={}),
    ]
    result = figures(cells)
    assert (result["harmful_promoted"], result["harmful_tried"]) == (0, 20)
    assert (result["collusion"]["harmful_promoted"], result["honest_promoted_share"]) == (3, 1.0)


def test_a_measurement_goes_on_with_the_runs_that_are_not_in_its_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "runs.jsonl"
    cells = cells_of(read_world(WORLD), engine=False, authors_min=2)
    for cell in cells:
        append_run(file, {"cell": cell.key, "seed": 0, "verdict": "promote", "changed": True})
    append_run(file, {"cell": cells[0].key, "seed": 1, "verdict": "waits", "changed": False})
    monkeypatch.setattr(
        sys, "argv", ["poison", "--json", "--out", str(file), "--seeds", "2", "--minutes", "0"]
    )
    main()
    result = json.loads(capsys.readouterr().out)
    assert (result["harmful_promoted"], result["harmful_tried"]) == (6, 7)
    assert result["cells"][0]["verdicts"] == {"promote": 1, "waits": 1}
