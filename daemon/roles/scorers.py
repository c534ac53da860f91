"""Builds the registry of scorers from the settings."""

from collections.abc import Callable

from daemon.scorer_settings import ScorerSettings
from daemon.settings import Settings
from serving.scoring.judge import PROMPT, ModelJudge
from serving.scoring.own import OwnScorer
from serving.scoring.registry import ScorerRegistry
from serving.scoring.verifier import ConversationVerifier, HttpVerifier


def registry_of(settings: Settings) -> ScorerRegistry:
    """The scorers that agents may name. Raises `OSError` where a judge's prompt cannot be read."""
    wait_s_max = settings.gate.scorer_s_max
    servers = {name: _opening(server, wait_s_max) for name, server in settings.scorers.items()}
    return ScorerRegistry(servers, wait_s_max=wait_s_max)


def _opening(server: ScorerSettings, wait_s_max: float) -> Callable[[], OwnScorer]:
    if server.model is None:
        verifier = ConversationVerifier if server.conversations else HttpVerifier
        return lambda: verifier(server.url, headers=server.headers(), wait_s_max=wait_s_max)
    model, prompt = server.model, (server.prompt or PROMPT).read_text()
    return lambda: ModelJudge(
        server.url,
        model=model,
        headers=server.headers(),
        wait_s_max=wait_s_max,
        requests_max=server.requests_max,
        prompt=prompt,
    )
