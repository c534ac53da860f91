"""The loops by which the fleet's leader tells people that one of them is needed, from the settings."""

import threading
from collections.abc import Callable
from functools import partial

from daemon.learning.scheduler import freshness_of
from daemon.notices.courier import Courier
from daemon.notices.finding import NoticeRules
from daemon.notices.telling import Receiver, Telling, run_looks
from daemon.roles.canaries import canary_options
from daemon.setting_groups.notify import NotifySettings, ReceiverSettings
from daemon.settings import Settings
from feedback.bridges.webhook_secrets import signing_secret
from ledger.database import Database


def notice_loops(settings: Settings, database: Database) -> dict[str, Callable[[threading.Event], None]]:
    """By name: one loop that looks, and one for each receiver. None without receivers."""
    notify = settings.notify
    if not notify.receivers:
        return {}
    kinds = {name: receiver.kinds for name, receiver in notify.receivers.items()}
    return {
        "notices": partial(run_looks, database, notice_rules(settings), kinds),
        **{
            f"notices to {name}": Telling(
                database=database,
                receiver=Receiver(
                    name=name,
                    courier=courier_of(receiver, notify),
                    kinds=receiver.kinds,
                    form=receiver.form,
                    interval_s=notify.interval_s,
                    give_up_s=notify.give_up_s,
                ),
            ).run
            for name, receiver in notify.receivers.items()
        },
    }


def courier_of(receiver: ReceiverSettings, notify: NotifySettings) -> Courier:
    """Who posts to this receiver."""
    return Courier(
        receiver.url.get_secret_value(),
        signing_secret(receiver.secret.get_secret_value()),
        timeout_s=notify.timeout_s,
    )


def notice_rules(settings: Settings) -> NoticeRules:
    """When people are needed, by the settings."""
    notify = settings.notify
    return NoticeRules(
        abstentions=notify.abstentions,
        dead_letters=notify.dead_letters,
        without_evidence_s=notify.without_evidence_s,
        freshness=freshness_of(settings),
        canary=canary_options(settings),
        dashboard=settings.dashboard.url,
    )
