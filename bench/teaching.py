"""Trains real passes on a tiny base, and checks that each agent comes back to a slot bit for bit as it left.

Slots and version store are the engine's own; this module only watches them.
"""

import shutil
import time
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from bench.crowd import STEP_EVENTS
from engine.adapter_files import publish
from engine.adapter_weights import Adapter
from engine.arena import Arena
from engine.base_files import base_hash, tokenizer_hash
from engine.base_model import load_base
from engine.calibration import mix_below_tokens
from engine.lesson import Learned, Lesson
from engine.manifest import Manifest, write_manifest
from engine.packer import PackingOptions
from engine.recipe import Recipe, recipe_values
from engine.slots import Slots
from engine.tokens import load_tokens
from engine.warm_engine import WarmEngine
from ledger.versions.lineage import version_name
from rewards.episode import Episode

RANKS = (2, 4, 8)  # every agent has one of them
TOKENIZER = Path(__file__).parents[1] / "examples" / "base_model" / "weights"
TOKEN_BUDGET = 2048
KEPT_VERSIONS = 2  # champion and predecessor


class WatchedSlots(Slots):
    """Times each return of an agent to a slot, and counts returns whose state differs from what left."""

    def __init__(self, arena: Arena, *, base_hash: str) -> None:
        super().__init__(arena, base_hash=base_hash)
        self.left: dict[Path, bytes] = {}  # version -> fingerprint of the state that left the slot
        self.attach_ms: list[float] = []
        self.returns = self.differing = 0

    def attach(self, lesson: Lesson) -> int:
        """As `Slots.attach`."""
        start = time.perf_counter()
        slot = super().attach(lesson)
        if lesson.parent is not None:
            self.attach_ms.append((time.perf_counter() - start) * 1e3)
            self.returns += 1
            self.differing += fingerprint(self.copy(slot, lesson.recipe)) != self.left[lesson.parent]
        return slot


class Teaching:
    """An engine with a few slots, and the versions of many agents."""

    def __init__(self, directory: Path, *, slots: int) -> None:
        base = tiny_base(directory / "base")
        self._store = directory / "store"
        model = load_base(base, device="cpu", dtype="float32", rank=max(RANKS), slots=slots)
        tokens = load_tokens(base, vocabulary=model.head_VD.shape[0])
        form = PackingOptions(
            token_budget=TOKEN_BUDGET, mix_below_tokens=mix_below_tokens(model, TOKEN_BUDGET)
        )
        self._engine = WarmEngine(model, tokens, form, hashes=(base_hash(base), tokenizer_hash(base)))
        self.slots = self._engine._slots = WatchedSlots(model.arena, base_hash=self._engine.base_hash)
        self._versions: dict[str, list[Path]] = {}
        self._passes = 0

    def teach(self, work: Mapping[str, Sequence[Episode]]) -> dict[str, int]:
        """Train one pass and write a version for every agent. Returns the training tokens by agent."""
        self._passes += 1
        lessons = [self._lesson(agent, episodes) for agent, episodes in work.items()]
        trained = {}
        for lesson, result in zip(lessons, self._engine.learn(lessons), strict=True):
            assert isinstance(result, Learned), result
            assert not result.already_known, "every event is trained on"
            self._keep(lesson, result)
            trained[lesson.agent] = result.metrics.tokens
        return trained

    def recall(self, agent: str) -> None:
        """Attach the agent's last version to a slot, and detach it again."""
        self.slots.detach(self.slots.attach(self._lesson(agent, ())))

    def _lesson(self, agent: str, episodes: Sequence[Episode]) -> Lesson:
        versions = self._versions.get(agent)
        return Lesson(
            agent=agent,
            parent=versions[-1] if versions else None,
            recipe=recipe_of(agent, len(episodes)),
            seed=self._passes,
            episodes=tuple(episodes),
        )

    def _keep(self, lesson: Lesson, learned: Learned) -> None:
        draft = self._store / lesson.agent / f".draft-{self._passes}"
        files = self._engine.save(learned, draft)
        version = version_name(self._passes, files.content_hash)
        manifest = Manifest(
            agent=lesson.agent,
            version=version,
            parent=None if lesson.parent is None else lesson.parent.name,
            base_hash=self._engine.base_hash,
            tokenizer_hash=self._engine.tokenizer_hash,
            turn=str(self._passes),
            pass_id=str(self._passes),
            events={"new": [uid for episode in lesson.episodes for uid in episode.events]},
            recipe=recipe_values(lesson.recipe),
            seed=lesson.seed,
            metrics=learned.metrics,
            files=files.sha256,
            content_hash=files.content_hash,
            probes=(),
        )
        write_manifest(draft, manifest)
        final = publish(draft, self._store / lesson.agent / version)
        self.slots.left[final] = fingerprint(learned.state)
        kept = self._versions.setdefault(lesson.agent, [])
        kept.append(final)
        while len(kept) > KEPT_VERSIONS:
            shutil.rmtree(kept[0])
            del self.slots.left[kept.pop(0)]


def recipe_of(agent: str, episodes: int) -> Recipe:
    """A recipe of one epoch in small steps, learned or not. Ranks differ between agents."""
    rank = RANKS[sum(agent.encode()) % len(RANKS)]
    steps = max(1, -(-episodes // STEP_EVENTS))
    return Recipe(
        rank=rank,
        alpha=2.0 * rank,
        steps=steps,
        steps_min=steps,
        new_per_step=STEP_EVENTS,
        replay_per_step=0,
        anchors_per_step=0,
        warmup_steps=0,
        learning_rate=1e-3,
        weight_decay=0.01,
    )


def fingerprint(adapter: Adapter) -> bytes:
    """A hash over the bits of weights, moments and step count."""
    digest = blake2b(str(adapter.steps).encode())
    for part in (adapter.weights, adapter.first, adapter.second):
        assert part is not None
        for name in sorted(part):
            for matrix in part[name]:
                digest.update(matrix.numpy().tobytes())
    return digest.digest()


def tiny_base(directory: Path) -> Path:
    """Write a base of two small random layers with the example base's tokenizer. Returns its directory."""
    torch.manual_seed(0)
    config = Qwen3Config(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        intermediate_size=128,
        vocab_size=768,
        max_position_embeddings=256,
        tie_word_embeddings=False,
    )
    Qwen3ForCausalLM(config).save_pretrained(directory)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(TOKENIZER / name, directory / name)
    return directory
