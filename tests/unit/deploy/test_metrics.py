"""The catalogue of metrics, the alerts and the dashboard say what the code tells, no more and no less."""

import ast
import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from daemon.process.role_names import ROLES
from daemon.upkeep.ledger_metrics import STATES
from ledger.events import Reason
from ledger.reports.health import STUCK
from ledger.versions.decisions import Verdict
from tests.catalogue import DEPLOY, ROOT, catalogue

RUNBOOK = (DEPLOY / "RUNBOOK.md").read_text()
RULES = (DEPLOY / "prometheus" / "clorad.rules.yml").read_text()
DASHBOARD = (DEPLOY / "grafana" / "clorad.json").read_text()
NAMES_OF_SOMEBODY = {"agent", "author", "version", "event", "conversation", "interaction", "id"}
OF_OTHERS = {"up", "process_start_time_seconds"}


@pytest.fixture(scope="module")
def instruments() -> dict[str, tuple[str, str]]:
    """Of every instrument that the code makes: what the real exporter calls it, and its kind."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.instruments"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    return {name: (exposed, kind) for name, (exposed, kind) in json.loads(ran.stdout).items()}


def test_the_catalogue_has_every_instrument_under_the_name_it_is_scraped_by(instruments) -> None:
    assert {name: row.kind for name, row in catalogue().items()} == dict(instruments.values())
    assert all(name.startswith("clorad.") for name in instruments), "a Prometheus is shared with others"


def test_the_catalogue_has_the_labels_that_the_code_counts_by(instruments) -> None:
    counted = labels_in_the_code()
    assert counted.keys() == instruments.keys(), "every instrument is used where it was made"
    named = {name: set(row.labels) for name, row in catalogue().items()}
    assert named == {instruments[name][0]: labels for name, labels in counted.items()}


def test_every_metric_has_a_help_text() -> None:
    described = dict(descriptions_in_the_code())
    assert described.keys() == labels_in_the_code().keys()
    assert [name for name, description in described.items() if not description.strip()] == []


def test_nobody_is_named_by_a_label() -> None:
    for name, labels in labels_in_the_code().items():
        assert not labels & NAMES_OF_SOMEBODY, name


def test_the_catalogue_has_the_values_that_are_enumerated_in_the_code() -> None:
    rows = catalogue()
    assert rows["clorad_feedback_records_total"].labels["reason"] == {reason.value for reason in Reason}
    assert rows["clorad_gate_decisions_total"].labels["verdict"] == {verdict.value for verdict in Verdict}
    assert rows["clorad_ledger_agents"].labels["state"] == set(STATES)
    assert rows["clorad_ledger_stuck"].labels["status"] == {status.value for status in STUCK}


@pytest.mark.parametrize("source", [RULES, DASHBOARD], ids=["alerts", "dashboard"])
def test_alerts_and_dashboard_ask_for_metrics_and_labels_there_are(source: str) -> None:
    rows = catalogue()
    asked = expressions(source)
    assert len(asked) > 20
    for expression in asked:
        for name, within in re.findall(r"\b(clorad_\w+)(?:\{([^}]*)\})?", expression):
            row = rows.get(re.sub(r"_(bucket|sum|count)$", "", name) if name not in rows else name)
            assert row is not None, f"{name} is not in the catalogue: {expression}"
            assert name in rows or row.kind == "histogram"
            for label, value in re.findall(r'(\w+)[!=~]+"([^"]*)"', within):
                assert label in row.labels, f"{label} of {name}"
                if row.labels[label] and label != "status":
                    assert value in row.labels[label], f"{label}={value} of {name}"
        known = {"job", "role", "instance", "le"}.union(*(row.labels for row in rows.values()))
        assert set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", expression)))) <= known
        rest = re.sub(r"\{[^}]*\}", "", expression)
        bare = set(re.findall(r"\b([a-z]+(?:_[a-z]+)+)\b(?!\()", rest))
        assert {name for name in bare if not name.startswith(("clorad_", "group_"))} <= OF_OTHERS


def test_every_metric_is_on_the_dashboard_or_in_an_alert() -> None:
    """What nobody looks at need not be told; two are for whoever looks into one role."""
    text = "\n".join((*expressions(RULES), *expressions(DASHBOARD)))
    unseen = {name for name in catalogue() if name not in text}
    assert unseen == {"clorad_ledger_restores", "clorad_dashboard_read_duration_seconds"}


def test_links_to_the_runbook_lead_to_sections_that_are_there() -> None:
    anchors = {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in sections()}
    linked = re.findall(r"RUNBOOK\.md#([\w-]+)", RULES + (DEPLOY / "METRICS.md").read_text())
    assert linked
    assert set(linked) <= anchors
    assert (
        RULES.count("alert: ")
        == RULES.count("runbook: ")
        == RULES.count("severity: ")
        == RULES.count("for: ")
    )


def test_on_kubernetes_pods_are_found_by_labels_and_the_port_that_they_have() -> None:
    """Debian's promtool is built without Kubernetes, and cannot read that example."""
    example = (DEPLOY / "prometheus" / "scrape-kubernetes.yml").read_text()
    asked = re.findall(r"__meta_kubernetes_pod_(\w+)", example)
    assert asked == [
        "label_app_kubernetes_io_part_of",
        "container_port_name",
        "label_app_kubernetes_io_name",
        "name",
    ]
    assert "app.kubernetes.io/part-of: clorad" in (DEPLOY / "kubernetes" / "kustomization.yaml").read_text()
    for role in ROLES:
        manifest = (DEPLOY / "kubernetes" / f"{role}.yaml").read_text()
        assert f"labels: {{app.kubernetes.io/name: {role}}}" in manifest
        assert "{name: health, containerPort: " in manifest


def test_the_dashboard_can_be_imported_anywhere() -> None:
    board = json.loads(DASHBOARD)
    assert "uid" not in board
    assert board["templating"]["list"][0]["type"] == "datasource"
    numbers = [panel["id"] for panel in board["panels"]]
    assert len(numbers) == len(set(numbers))
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == panel["datasource"]["uid"] == "${datasource}"


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD)["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + dx, at["y"] + dy) for dx in range(at["w"]) for dy in range(at["h"])}
        assert not taken & cells, panel["title"]
        taken |= cells


def sections() -> list[str]:
    return re.findall(r"^##+ (.+)$", RUNBOOK, flags=re.MULTILINE)


def expressions(source: str) -> list[str]:
    """The PromQL of the rules (YAML in the shape that this file has) or of the dashboard."""
    if source is DASHBOARD:
        return [
            target["expr"] for panel in json.loads(source)["panels"] for target in panel.get("targets", ())
        ]
    folded = re.findall(r"expr: >-\n((?: {10}.*\n)+)", source)
    return [" ".join(line.split()) for line in folded] + re.findall(r"expr: (?!>-)(.+)", source)


def descriptions_in_the_code() -> Iterator[tuple[str, str]]:
    """Every instrument's name and description, where it is made."""
    for stage in ("feedback", "serving", "daemon"):
        for path in sorted((ROOT / stage).rglob("*.py")):
            for call in ast.walk(ast.parse(path.read_text())):
                if not isinstance(call, ast.Call):
                    continue
                names = [argument.value for argument in call.args if isinstance(argument, ast.Constant)]
                options = {option.arg: option.value for option in call.keywords}
                if "unit" in options and names and str(names[0]).startswith("clorad."):
                    yield str(names[0]), ast.literal_eval(options.get("description", ast.Constant("")))


def labels_in_the_code() -> dict[str, set[str]]:
    """By instrument: the keys of the labels it is given, where it is made or by name in that module."""
    labels_by_metric: dict[str, set[str]] = defaultdict(set)
    for stage in ("feedback", "serving", "daemon"):
        for path in sorted((ROOT / stage).rglob("*.py")):
            tree = ast.parse(path.read_text())
            made = dict(_made(tree))
            for call in ast.walk(tree):
                if isinstance(call, ast.Call) and _is_told(call, made):
                    method: Any = call.func
                    labels_by_metric[made[method.value.id]] |= _keys(call)
    return labels_by_metric


def _made(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in tree.body:
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Call)
            and isinstance(node.targets[0], ast.Name)
        ):
            for argument in node.value.args:
                if isinstance(argument, ast.Constant) and str(argument.value).startswith("clorad."):
                    yield node.targets[0].id, str(argument.value)


def _is_told(call: ast.Call, made: dict[str, str]) -> bool:
    method = call.func
    return (
        isinstance(method, ast.Attribute)
        and method.attr in ("add", "record", "set", "replace")
        and isinstance(method.value, ast.Name)
        and method.value.id in made
    )


def _keys(call: ast.Call) -> set[str]:
    """Labels are written where they are counted by, so that this test sees them."""
    written = [node for node in ast.walk(call) if isinstance(node, ast.Dict)]
    assert written or (len(call.args) < 2 and call.func.attr != "replace"), ast.unparse(call)  # type: ignore[attr-defined]
    keys = [key for node in written for key in node.keys]
    assert all(isinstance(key, ast.Constant) for key in keys), ast.unparse(call)
    return {str(key.value) for key in keys if isinstance(key, ast.Constant)}
