"""Rules under which little is needed to tell people."""

from daemon.learning.scheduler import Freshness
from daemon.notices.finding import NoticeRules
from tests.canary_options_builder import build_canary_options

RULES = NoticeRules(
    abstentions=3,
    dead_letters=2,
    without_evidence_s=3600.0,
    freshness=Freshness(
        events_min=2, age_s_max=3600.0, alpha=0.05, refusals_max=3, suite_min=0, settle_s=0.0, authors_min=1
    ),
    canary=build_canary_options(),
    dashboard="https://clorad.example",
)
