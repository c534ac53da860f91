"""The options of a fleet, with values that are quick in tests."""

from pathlib import Path
from typing import Any

from serving.fleet.answers import AskingOptions
from serving.fleet.gate import GateLimits
from serving.fleet.judging import JudgingOptions
from serving.fleet.leader import FleetOptions
from serving.fleet.own_scores import ScoringOptions
from serving.fleet.reconciler import ReplicaOptions
from tests.canary_options_builder import build_canary_options
from tests.unit.serving.serving_environment import BASE_HASH


def build_limits(**changed: Any) -> GateLimits:
    return GateLimits(**{"alpha": 0.05, "kl_nats_max": None, "authors_min": 1, "suite_min": 0, **changed})


def build_replica_options(**changed: Any) -> ReplicaOptions:
    return ReplicaOptions(**{"adapters_max": 32, "unload_after_s": 60.0, **changed})


def build_judging_options(**changed: Any) -> JudgingOptions:
    asking = AskingOptions(tokens_max=256, in_flight_max=8)
    scoring = ScoringOptions(wait_s_max=5.0, total_s_max=60.0, in_flight_max=8)
    fields: dict[str, Any] = {
        "limits": build_limits(),
        "asking": asking,
        "scoring": scoring,
        "canary": build_canary_options(share=0.0, s_max=1800.0),
        "image": "",
    }
    return JudgingOptions(**{**fields, **changed})


def build_fleet_options(store: Path, **changed: Any) -> FleetOptions:
    fields: dict[str, Any] = {
        "store": store,
        "base_hash": BASE_HASH,
        "holder": "one",
        "replica": build_replica_options(),
        "judging": build_judging_options(),
    }
    return FleetOptions(**{**fields, **changed})
