"""The reference that the engine must equal: PEFT, one sample at a time, full logits."""

import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model

from engine.adapter_weights import Adapter
from engine.packer import Portion
from engine.recipe import Recipe, Term


def build_peft_model(base: torch.nn.Module, adapter: Adapter) -> torch.nn.Module:
    """The base with this one adapter, by PEFT."""
    wrapped = get_peft_model(
        base,
        LoraConfig(
            r=adapter.rank,
            lora_alpha=adapter.alpha,
            use_rslora=adapter.rslora,
            target_modules=list(adapter.targets),
            lora_dropout=0.0,
        ),
    )
    named = dict(wrapped.named_parameters())
    with torch.no_grad():
        for name, (a, b) in adapter.weights.items():
            named[f"base_model.model.{name}.lora_A.default.weight"].copy_(a)
            named[f"base_model.model.{name}.lora_B.default.weight"].copy_(b)
    return wrapped.eval()


def answer_logprobs(
    model: torch.nn.Module, prompt_ids: tuple[int, ...], answer_ids: tuple[int, ...]
) -> torch.Tensor:
    """Log-probability of each answer token, from full logits."""
    logits = model(input_ids=torch.tensor([[*prompt_ids, *answer_ids]])).logits[0].float()
    rows = logits[len(prompt_ids) - 1 : -1].log_softmax(-1)
    return rows.gather(1, torch.tensor(answer_ids)[:, None])[:, 0]


def next_logprobs(model: torch.nn.Module, token_ids: tuple[int, ...]) -> torch.Tensor:
    """Log-probability of every token of the vocabulary as the next one."""
    with torch.no_grad():
        return model(input_ids=torch.tensor([token_ids])).logits[0, -1].float().log_softmax(-1)


def gradients(model: torch.nn.Module, portions: list[Portion], recipe: Recipe) -> dict[str, torch.Tensor]:
    """Gradients of the adapter's matrices, by name of linear and letter, from the written-out loss."""
    model.zero_grad()
    total = sum(_loss(model, portion, recipe) for portion in portions)
    total.backward()
    return {
        name.removeprefix("base_model.model.").removesuffix(".default.weight"): parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


def _loss(model: torch.nn.Module, portion: Portion, recipe: Recipe) -> torch.Tensor:
    sample = portion.sample
    weights = torch.tensor(sample.reply.weights)
    now = answer_logprobs(model, sample.prompt_ids, sample.reply.token_ids)
    loss = -portion.coefficient(Term.SUPERVISED) * (weights * now).sum()
    if portion.coefficient(Term.PREFERENCE):
        rejected = answer_logprobs(model, sample.prompt_ids, sample.rejected.token_ids)
        champion_chosen, champion_rejected = (reference.logprob_N.cpu() for reference in portion.references)
        margin = (now - champion_chosen).sum() - (rejected - champion_rejected).sum()
        loss = loss - portion.coefficient(Term.PREFERENCE) * F.logsigmoid(recipe.preference_beta * margin)
    if portion.coefficient(Term.POLICY):
        champion = portion.references[0].logprob_N.cpu()
        ratio = (now - champion).exp()
        importance = (
            (champion - torch.tensor(sample.reply.sampled_logprobs)).exp().clamp(max=recipe.importance_max)
        )
        clipped = ratio.clamp(recipe.policy_clip_low, recipe.policy_clip_high)
        gain = torch.minimum(ratio * sample.advantage, clipped * sample.advantage)
        loss = loss - portion.coefficient(Term.POLICY) * (weights * importance * gain).sum()
    if portion.coefficient(Term.KL):
        ids = torch.tensor([[*sample.prompt_ids, *sample.reply.token_ids]])
        now_V = model(input_ids=ids).logits[0, len(sample.prompt_ids) - 1 : -1].log_softmax(-1)
        head = model.get_base_model().get_output_embeddings().weight
        champion_V = (portion.references[0].hidden_ND.cpu().float() @ head.t()).log_softmax(-1)
        loss = loss + portion.coefficient(Term.KL) * (champion_V.exp() * (champion_V - now_V)).sum(-1).mean()
    return loss
