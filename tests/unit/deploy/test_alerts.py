"""Each alert fires when what it is about happens, and no other does; while all is well, none does.

promtool (of Prometheus) evaluates the rules, minute by minute, for installations with one fault each.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
RULES = ROOT / "deploy" / "prometheus" / "clorad.rules.yml"
MINUTES = 100
HAPPENS = 30  # the minute at which all is no longer well
pytestmark = pytest.mark.promtool

Series = Mapping[str, str]


def always(value: float) -> str:
    return f"{value}x{MINUTES}"


def rising(a_minute: float) -> str:
    return f"0+{a_minute}x{MINUTES}"


def then(before: str, after: str) -> str:
    """Two notations of promtool, the second from the minute on at which it happens."""
    return f"{before}x{HAPPENS - 1} {after}x{MINUTES - HAPPENS}"


def from_then_on(a_minute: float) -> str:
    return then("0", f"0+{a_minute}")


def of(role: str) -> str:
    return f'job="clorad",role="{role}",instance="{role}:9000"'


WELL: Series = (
    {f"up{{{of(role)}}}": always(1) for role in ("intake", "learner", "fleet", "gateway")}
    | {f"process_start_time_seconds{{{of(role)}}}": always(1) for role in ("intake", "learner")}
    | {
        f'clorad_role_beat_timestamp_seconds{{{of(role)},loop="{role}"}}': rising(60)
        for role in ("intake", "learner", "fleet", "gateway")
    }
    | {
        f'clorad_role_ready{{{of("intake")},check="{check}"}}': always(1)
        for check in ("ledger", "kafka", "room", "dead letters")
    }
    | {
        'clorad_feedback_lag{topic="clorad.feedback",partition="0"}': always(3),
        'clorad_feedback_records_total{fate="stored"}': rising(60),
        'clorad_feedback_records_total{fate="dead",reason="conflict"}': always(0),
        "clorad_feedback_orphans_total": always(0),
        "clorad_feedback_partitions_halted": always(0),
        "clorad_feedback_outbox_oldest_seconds": always(1),
        'clorad_notices_oldest_seconds{receiver="ops"}': always(60),
        'clorad_learner_turns_total{outcome="made"}': rising(1),
        'clorad_learner_turns_total{outcome="void"}': always(0),
        'clorad_learner_steps_total{fate="skipped"}': always(0),
        "clorad_learner_memory_shortages_total": always(0),
        'clorad_ledger_agents{state="due"}': always(2),
        'clorad_ledger_agents{state="learning"}': always(1),
        'clorad_ledger_last_timestamp_seconds{what="turn"}': rising(60),
        "clorad_ledger_due_oldest_seconds": always(60),
        'clorad_ledger_turns_open{held="no"}': always(0),
        "clorad_ledger_passes_oldest_seconds": always(30),
        'clorad_ledger_stuck{status="contested"}': always(0),
        "clorad_ledger_candidates_oldest_seconds": always(30),
        "clorad_ledger_generation": always(5),
        'clorad_gate_decisions_total{verdict="promote",by="gate"}': always(7),
        'clorad_gate_decisions_total{verdict="refuse",by="gate"}': always(3),
        "clorad_fleet_replicas_configured": always(2),
        "clorad_fleet_replicas_in_rotation": always(2),
        'clorad_fleet_adapters_missing{replica="vllm-0:8000"}': always(0),
        'clorad_gateway_requests_total{status="200"}': rising(600),
        'clorad_gateway_requests_total{status="503"}': always(0),
        'clorad_gateway_request_duration_seconds_bucket{le="10.0"}': rising(600),
        'clorad_gateway_request_duration_seconds_bucket{le="60.0"}': rising(600),
        'clorad_gateway_request_duration_seconds_bucket{le="+Inf"}': rising(600),
        f"clorad_gateway_generation{{{of('gateway')}}}": always(5),
        'clorad_gateway_interactions_total{fate="kept"}': rising(60),
        'clorad_gateway_interactions_total{fate="no_room"}': always(0),
        'clorad_gateway_feedback_total{fate="kept"}': rising(6),
        'clorad_gateway_feedback_total{fate="not_acknowledged"}': always(0),
    }
)

HAPPENING: Mapping[str, Series] = {
    "CloradRoleGone": {f"up{{{of('learner')}}}": then("1", "0")},
    "CloradRoleRestarts": {f"process_start_time_seconds{{{of('intake')}}}": then("1", "0+240")},
    "CloradRoleHangs": {
        f'clorad_role_beat_timestamp_seconds{{{of("learner")},loop="learner"}}': then("0+60", "1740")
    },
    "CloradRoleNotReady": {f'clorad_role_ready{{{of("intake")},check="kafka"}}': then("1", "0")},
    "CloradIntakeStandsStill": {'clorad_feedback_records_total{fate="stored"}': then("0+60", "1740")},
    "CloradIntakeFallsBehind": {
        'clorad_feedback_lag{topic="clorad.feedback",partition="0"}': then("3", "9000+500")
    },
    "CloradPartitionHalted": {"clorad_feedback_partitions_halted": then("0", "1")},
    "CloradDeadLetters": {
        'clorad_feedback_records_total{fate="dead",reason="conflict"}': from_then_on(1),
    },
    "CloradOrphans": {"clorad_feedback_orphans_total": from_then_on(1)},
    "CloradOutboxNotShipped": {"clorad_feedback_outbox_oldest_seconds": from_then_on(60)},
    "CloradNobodyIsTold": {'clorad_notices_oldest_seconds{receiver="ops"}': from_then_on(60)},
    "CloradNobodyLearns": {
        'clorad_ledger_agents{state="learning"}': then("1", "0"),
        'clorad_ledger_last_timestamp_seconds{what="turn"}': then("0+60", "1740"),
    },
    "CloradLearningFallsBehind": {"clorad_ledger_due_oldest_seconds": then("60", "14401+60")},
    "CloradTurnNotResumed": {'clorad_ledger_turns_open{held="no"}': then("0", "2")},
    "CloradPassTakesLong": {"clorad_ledger_passes_oldest_seconds": then("30", "7000+60")},
    "CloradTurnsVoid": {'clorad_learner_turns_total{outcome="void"}': from_then_on(3)},
    "CloradOutOfMemory": {"clorad_learner_memory_shortages_total": from_then_on(1)},
    "CloradStepsSkipped": {'clorad_learner_steps_total{fate="skipped"}': from_then_on(1)},
    "CloradEventsContested": {'clorad_ledger_stuck{status="contested"}': then("0", "4")},
    "CloradNobodyLeads": {
        name: then(values.partition("x")[0], "_")
        for name, values in WELL.items()
        if name.startswith(("clorad_fleet", "clorad_ledger"))
    },
    "CloradNoReplica": {
        "clorad_fleet_replicas_configured": then("2", "0"),  # for it to fire alone
        "clorad_fleet_replicas_in_rotation": then("2", "0"),
    },
    "CloradReplicaOut": {"clorad_fleet_replicas_in_rotation": then("2", "1")},
    "CloradReplicaDiffers": {'clorad_fleet_adapters_missing{replica="vllm-0:8000"}': then("0", "1")},
    "CloradGateUndecided": {"clorad_ledger_candidates_oldest_seconds": then("30", "1000+60")},
    "CloradEverythingRefused": {'clorad_gate_decisions_total{verdict="refuse",by="gate"}': then("3", "3+1")},
    "CloradGatewayFails": {'clorad_gateway_requests_total{status="503"}': from_then_on(30)},
    "CloradGatewaySlow": {
        'clorad_gateway_request_duration_seconds_bucket{le="10.0"}': then("0+600", "17400"),
    },
    "CloradRoutingOld": {"clorad_ledger_generation": then("5", "6")},
    "CloradCapturesLost": {'clorad_gateway_interactions_total{fate="no_room"}': from_then_on(60)},
    "CloradFeedbackTurnedAway": {
        'clorad_gateway_feedback_total{fate="not_acknowledged"}': from_then_on(1),
    },
}


ALSO: Mapping[str, tuple[str, Series]] = {  # other ways to the same alert
    "a role that is not scraped at all": ("CloradRoleGone", {f"up{{{of('gateway')}}}": then("1", "_")}),
    "a loop that is not the learner's": (
        "CloradRoleHangs",
        {f'clorad_role_beat_timestamp_seconds{{{of("intake")},loop="intake"}}': then("0+60", "1740")},
    ),
    "the learner never closed a turn": (
        "CloradNobodyLearns",
        {
            'clorad_ledger_agents{state="learning"}': then("1", "0"),
            'clorad_ledger_last_timestamp_seconds{what="turn"}': then("_", "_"),
        },
    ),
}

QUIET: Mapping[str, Series] = {  # it looks like trouble, and is none
    "nothing is sent": {
        'clorad_feedback_records_total{fate="stored"}': always(7),
        'clorad_feedback_lag{topic="clorad.feedback",partition="0"}': always(0),
    },
    "a large backlog that is worked off": {
        'clorad_feedback_lag{topic="clorad.feedback",partition="0"}': f"900000-5000x{MINUTES}",
    },
    "passes so short that nobody is seen learning": {'clorad_ledger_agents{state="learning"}': always(0)},
    "a long pass while others are due": {
        'clorad_ledger_last_timestamp_seconds{what="turn"}': then("0+60", "1740")
    },
    "some turns void, more versions made": {
        'clorad_learner_turns_total{outcome="void"}': from_then_on(0.5),
    },
    "refusals, and a promotion": {
        'clorad_gate_decisions_total{verdict="refuse",by="gate"}': then("3", "3+1"),
        'clorad_gate_decisions_total{verdict="promote",by="gate"}': f"{then('7', '8')}",
    },
    "routing moves every minute and gateways follow": {
        "clorad_ledger_generation": rising(1),
        f"clorad_gateway_generation{{{of('gateway')}}}": rising(1),
    },
    "one of two intakes is not ready": {
        'clorad_role_ready{job="clorad",role="intake",instance="other",check="kafka"}': always(0),
    },
    "one request in a thousand fails": {'clorad_gateway_requests_total{status="503"}': from_then_on(0.6)},
    "one restart": {f"process_start_time_seconds{{{of('learner')}}}": then("1", "1800")},
}


def case(name: str, happening: Series, *alerts: str) -> dict[str, Any]:
    """None fires a minute before it happens; in the end these do, and no other."""
    series_values = dict(WELL) | dict(happening)
    firing = [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in alerts]
    asked = 'group by (alertname) (ALERTS{alertstate="firing"})'
    return {
        "name": name,
        "interval": "1m",
        "input_series": [{"series": series, "values": values} for series, values in series_values.items()],
        "promql_expr_test": [
            {"expr": asked, "eval_time": f"{HAPPENS - 1}m", "exp_samples": []},
            {"expr": asked, "eval_time": f"{MINUTES - 1}m", "exp_samples": firing},
        ],
    }


def promtool(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not on the PATH (on Debian it is in the package prometheus)")
    return subprocess.run(
        [program, *map(str, words)], capture_output=True, text=True, check=False, timeout=120
    )


def worked_out(folder: Path, *cases: dict[str, Any]) -> "subprocess.CompletedProcess[str]":
    asked = folder / "alerts.yml"  # YAML is JSON as well
    asked.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": cases}))
    return promtool("test", "rules", asked)


def test_promtool_reads_the_example_of_what_to_scrape_and_the_rules_it_names() -> None:
    read = promtool("check", "config", RULES.with_name("scrape.yml"))
    assert read.returncode == 0, read.stdout + read.stderr
    assert f"{len(HAPPENING)} rules found" in read.stdout


def test_no_alert_fires_while_all_is_well(tmp_path: Path) -> None:
    well = worked_out(tmp_path, case("all is well", {}))
    assert well.returncode == 0, well.stdout + well.stderr


@pytest.mark.parametrize("alert", HAPPENING)
def test_it_fires_once_it_happens_and_alone(alert: str, tmp_path: Path) -> None:
    fired = worked_out(tmp_path, case(alert, HAPPENING[alert], alert))
    assert fired.returncode == 0, fired.stdout + fired.stderr


@pytest.mark.parametrize("way", ALSO)
def test_it_fires_on_other_ways_too(way: str, tmp_path: Path) -> None:
    alert, happening = ALSO[way]
    fired = worked_out(tmp_path, case(way, happening, alert))
    assert fired.returncode == 0, fired.stdout + fired.stderr


@pytest.mark.parametrize("way", QUIET)
def test_what_only_looks_like_trouble_wakes_nobody(way: str, tmp_path: Path) -> None:
    quiet = worked_out(tmp_path, case(way, QUIET[way]))
    assert quiet.returncode == 0, quiet.stdout + quiet.stderr


def test_every_alert_is_shown_firing() -> None:
    assert set(re.findall(r"alert: (\w+)", RULES.read_text())) == set(HAPPENING)
