"""A tiny base with random, non-zero adapters in its slots, and episodes for them."""

from dataclasses import replace

import torch

from engine.base_model import BaseModel, PackedBatch
from engine.objective import read_references
from engine.packer import PackingOptions, Portion, Tenant, pack
from engine.recipe import Recipe, Term
from engine.slots import Slots, fresh_weights
from engine.step import add_step
from engine.tokens import Tokens
from rewards.episode import Episode, Message, Weighted
from tests.unit.engine import peft_reference, tiny_base
from tests.unit.engine.machines import PLAIN_CPU, Machine

TOKENS = Tokens(tiny_base.build_tokenizer(), vocabulary=288)
RECIPE = Recipe(rank=8, alpha=16.0)


def build_demonstrations(agent: str, count: int) -> list[Episode]:
    return [tiny_base.build_episode(f"{agent} asks {n}", agent * (1 + 3 * n)) for n in range(count)]


def build_pairs(agent: str, count: int) -> list[Episode]:
    return [
        tiny_base.build_episode(f"{agent} asks {n}", f"{agent} {n}", rejected=Weighted(text=f"{n * 11}"))
        for n in range(count)
    ]


def build_outcomes(agent: str, count: int) -> list[Episode]:
    return [
        tiny_base.build_episode(
            f"{agent} asks",
            f"said {n}",
            advantage=(-1.0) ** n,
            sampled=tiny_base.build_sampled_tokens(f"said {n}", -4.0),
        )
        for n in range(count)
    ]


def build_conversation(agent: str, turns: int) -> list[Episode]:
    """An assistant's turns: the messages of each one begin with those of the turn before, and its reply."""
    episodes = []
    messages: tuple[Message, ...] = ({"role": "system", "content": f"{agent} uses tools"},)
    for turn in range(turns):
        messages = (*messages, {"role": "user", "content": f"asks {turn}"})
        episode = tiny_base.build_episode(f"{agent} {turn}", f"says {turn * 7}")
        episodes.append(replace(episode, messages=messages))
        messages = (*messages, {"role": "assistant", "content": episode.reply.text})
    return episodes


class TinyEngine:
    """A base with random, non-zero adapters in its slots, and the same adapters for the oracle."""

    def __init__(
        self,
        family: str = "qwen3",
        *,
        recipes: list[Recipe],
        rank: int = 8,
        machine: Machine = PLAIN_CPU,
    ) -> None:
        self.family, self.recipes, self.machine = family, recipes, machine
        model = tiny_base.build_model(family).to(machine.device, machine.dtype)
        self.base = BaseModel(model, rank=rank, slots=len(recipes), kernels=machine.kernels)
        self.slots = Slots(self.base.arena, base_hash="b", frozen_linears=self.base.frozen_linears)
        self.adapters, self.tenants = [], []
        for number, recipe in enumerate(recipes):
            names = self.slots.names(recipe)
            torch.manual_seed(number)
            weights = {
                name: (a, 0.1 * torch.randn_like(b))
                for name, (a, b) in fresh_weights(
                    self.base.arena, names, rank=recipe.rank, seed=number
                ).items()
            }
            slot = self.slots.load(tiny_base.build_adapter(recipe, weights), moments_too=False)
            self.adapters.append(self.slots.copy(slot, recipe))
            self.tenants.append(Tenant(slot=slot, recipe=recipe))

    def portions(self, tenant: Tenant, episodes: list[Episode], **coefficients: float) -> list[Portion]:
        samples = [TOKENS.sample(episode, tokens_max=512) for episode in episodes]
        references_of_samples = read_references(
            self.base,
            tenant,
            samples,
            token_budget=512,
            hidden_too=[coefficients.get("kl", 0) > 0] * len(samples),
        )
        return [
            Portion(
                sample=sample,
                references=references,
                coefficients={Term(term): value / (n + 1) for term, value in coefficients.items()},
            )
            for n, (sample, references) in enumerate(zip(samples, references_of_samples, strict=True))
        ]

    def drift(self) -> None:
        """Change the adapters after the references were read, as a few steps would."""
        torch.manual_seed(9)
        for number, tenant in enumerate(self.tenants):
            moved = {
                name: (a + 0.02 * torch.randn_like(a), b + 0.02 * torch.randn_like(b))
                for name, (a, b) in self.adapters[number].weights.items()
            }
            self.base.arena.write(self.base.arena.weight, tenant.slot, moved)
            self.adapters[number] = self.slots.copy(tenant.slot, self.recipes[number])

    def run(self, work, *, token_budget: int = 512, mixed: bool = True, share: bool = True) -> int:
        """Compute the work's gradients into the arena; returns the number of micro-batches."""
        self.base.arena.grad.zero_()
        packing = PackingOptions(
            token_budget=token_budget, mix_below_tokens=1 << 30 if mixed else 0, share_prefixes=share
        )
        add_step(self.base, work, packing)
        return len(pack(work, packing, torch.device("cpu")))

    def assert_like_peft(self, number: int, portions: list[Portion]) -> None:
        """Compare with PEFT, relative to the whole gradient: each matrix in fp32, all together in bf16."""
        recipe, slot, tolerance = self.recipes[number], self.tenants[number].slot, self.machine.tolerance
        model = peft_reference.build_peft_model(tiny_base.build_model(self.family), self.adapters[number])
        expected = peft_reference.gradients(model, portions, recipe)
        actual = self.base.arena.read(
            self.base.arena.grad, slot, rank=recipe.rank, names=self.slots.names(recipe)
        )
        largest = max(float(value.abs().max()) for value in expected.values())
        assert largest > 0
        assert len(expected) == 2 * len(actual)
        actual_by_name = {
            f"{name}.lora_{letter}": matrix
            for name, ab in actual.items()
            for letter, matrix in zip("AB", ab, strict=True)
        }
        if self.machine.dtype == torch.bfloat16:
            whole = [
                torch.cat([gradients[name].flatten() for name in expected])
                for gradients in (actual_by_name, expected)
            ]
            assert relative_distance(*whole) <= tolerance
        else:
            for name, value in expected.items():
                assert float((actual_by_name[name] - value).abs().max()) <= tolerance * max(1.0, largest)


def relative_distance(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """L2 distance over L2 norm."""
    return float((actual - expected).norm() / expected.norm())


class LimitedBase:
    """A base on a device whose memory suffices for `tokens_max` tokens of a batch."""

    def __init__(self, base: BaseModel, *, tokens_max: int) -> None:
        self._base, self._tokens_max = base, tokens_max

    def __getattr__(self, name: str) -> object:
        return getattr(self._base, name)

    def hidden(self, packed: PackedBatch) -> torch.Tensor:
        if packed.token_ids_T.numel() > self._tokens_max:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self._base.hidden(packed)


def assert_same_logprobs(engine: TinyEngine, model: torch.nn.Module) -> None:
    """The engine's first slot gives an answer's tokens the log-probabilities of this model of PEFT."""
    sample = TOKENS.sample(tiny_base.build_episode("what?", "that and more"), tokens_max=512)
    ((reference,),) = read_references(
        engine.base, engine.tenants[0], [sample], token_budget=512, hidden_too=[False]
    )
    with torch.no_grad():
        peft_logprobs = peft_reference.answer_logprobs(model, sample.prompt_ids, sample.reply.token_ids)
    torch.testing.assert_close(reference.logprob_N, peft_logprobs, rtol=0, atol=1e-5)
