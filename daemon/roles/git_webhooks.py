"""Takes webhooks of git repositories: each has a branch scanned, and what it says sent to Kafka."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial

from daemon.roles.gateway import limits_of
from daemon.roles.git_scans import BranchScans, find, send
from daemon.roles.startup import cluster_of
from daemon.settings import Settings
from daemon.signers import sending_key, why_not_believed
from feedback.bridges.git.webhooks import BranchUpdate
from feedback.sending.kafka_sender import KafkaSender
from ledger.database import Database
from ledger.events import Interaction
from ledger.learning import event_queries
from serving.bridges.git_webhook import GitWebhook


@contextmanager
def git_webhooks(settings: Settings) -> Iterator[tuple[dict[str, GitWebhook], BranchScans]]:
    """What answers the webhooks of each repository, by path, and the scans that they ask for.

    Somebody must run the scans, and end them before the block ends. Raises `RoleRefused`.
    """
    cluster, key = cluster_of(settings), sending_key(settings.feedback)
    with (
        closing(Database(settings.ledger.url)) as database,
        closing(KafkaSender(cluster, key=key)) as signing,
        closing(KafkaSender(cluster, key=None)) as plain,
    ):

        def scan(name: str, update: BranchUpdate) -> int:
            repository = settings.git.repositories[name]
            bridged = find(
                settings.git,
                partial(_captured, database),
                repository.path,
                branch=repository.branch,
                agent=repository.agent,
                merges=update.merges,
                fetch=True,
            )
            events = [event for interaction in bridged for event in interaction.events]
            believed = partial(why_not_believed, settings.feedback)
            return len(send(events, signing=signing, plain=plain, why_not_believed=believed))

        scans = BranchScans(scan)
        yield (
            {
                f"git/{name}": GitWebhook(
                    host=repository.host,
                    repository=repository.name,
                    branch=repository.branch,
                    secret=repository.secret.get_secret_value(),
                    ask=partial(scans.ask, name),
                    limits=limits_of(settings.gateway.limits),
                )
                for name, repository in settings.git.repositories.items()
            },
            scans,
        )


def _captured(database: Database, ids: Sequence[str]) -> Mapping[str, Interaction]:
    with database.read() as connection:
        return event_queries.interactions_named(connection, ids)
