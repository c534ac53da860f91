"""The exam of a pretrained base: held-out phrasings and slot values, asked of an adapter and its base."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.prose_feedback import REPLY_TOKENS_MAX
from bench.prose_model import ProseModel, ProseReply
from examples.real_base.prose_world import ProsePrompt, ProseWorld
from rewards.similarity import similarity, text_features
from serving.scoring.forms import Form, form_of
from serving.scoring.harm import HarmScorer

QUESTIONS = 12  # of each kind, and of each rule


def exam(world: ProseWorld, model: ProseModel, agent: str, wave: int) -> dict[str, Any]:
    """Shares on held-out prompts: rules followed by wave, near misses leaked, other replies kept.

    A reply is of a kind: by a rule, JSON, code, or sentences. The kind is a decision where the base repeats
    it in two replies sampled at temperature 1, as the gate counts decisions. `decision_kept` is the share of
    these prompts whose reply is of the same kind as before. `kind_kept` counts all other prompts, and
    `kind_kept_by_samples` says the same of the base's samples. `missed` are prompts of rules not followed.
    `harmless` is the share that the gate's scorer calls no harm: it compares replies of a few words exactly,
    and so counts each of them that is worded in another way.
    """
    followed, missed = {}, []
    for number in range(1, wave + 1):
        prompts = [
            prompt
            for about in world.of_wave(agent, number)
            for prompt in world.about(about, QUESTIONS, seed="exam", held_out=True)
        ]
        wrong = wrong_replies(model, prompts)
        followed[str(number)] = _share(prompt.text not in wrong for prompt in prompts)
        missed += [
            {"asked": prompt.text, "wanted": str(prompt.wanted), "reply": wrong[prompt.text]}
            for prompt in prompts
            if prompt.text in wrong
        ]
    near = world.beside(agent, "near", QUESTIONS, seed="exam", held_out=True)
    chat = world.beside(agent, "chat", QUESTIONS, seed="exam", held_out=True)
    other = _messages([*near, *chat])
    before = model.base_replies(other, REPLY_TOKENS_MAX)
    after = model.replies(other, tokens_max=REPLY_TOKENS_MAX)
    samples = [model.sampled_by_base(other, REPLY_TOKENS_MAX, seed=seed) for seed in (1, 2)]
    harm = HarmScorer(world.agents[agent].scorer, _taught(world, agent, wave))
    marks = world.marks(agent)
    readings = model.read(other, [reply.text for reply in before])
    harms = [harm.score(now.text, was.text) < 1.0 for was, now in zip(before, after, strict=True)]
    kinds = [decision(reply.text, marks) for reply in before]
    kept = [kind == decision(reply.text, marks) for kind, reply in zip(kinds, after, strict=True)]
    by_samples = [
        [kind == decision(sample.text, marks) for kind, sample in zip(kinds, drawn, strict=True)]
        for drawn in samples
    ]
    repeated = [all(same) for same in zip(*by_samples, strict=True)]
    return {
        "followed": followed,
        "near_leaked": _share(reply.text.startswith(marks) for reply in after[: len(near)]),
        "near_leaked_by_base": _share(reply.text.startswith(marks) for reply in before[: len(near)]),
        "missed": missed,
        "decisions": sum(repeated),
        "decision_kept": _share(same for same, is_decision in zip(kept, repeated, strict=True) if is_decision)
        if any(repeated)
        else None,
        "kind_kept": _share(kept),
        "kind_kept_by_samples": _share(same for drawn in by_samples for same in drawn),
        "harmless": _share(not is_harm for is_harm in harms),
        "changed": [
            {
                "asked": prompt.text,
                "before": was.text,
                "after": now.text,
                "kind_kept": same,
                "is_decision": is_decision,
            }
            for prompt, was, now, same, is_decision, is_harm in zip(
                [*near, *chat], before, after, kept, repeated, harms, strict=True
            )
            if is_harm or not same
        ],
        "likeness": _likeness(before, after),
        "likeness_of_samples": _likeness(*samples),
        "same_share": round(statistics.fmean(reading.same_share for reading in readings), 4),
        "kl_nats": round(statistics.fmean(reading.kl_nats for reading in readings), 4),
    }


def wrong_replies(model: ProseModel, prompts: Sequence[ProsePrompt]) -> dict[str, str]:
    """The greedy replies that are not the wanted ones to the letter, by the text of their prompt.

    It is generated only where not every token of the wanted one is the first choice: the same text may be
    made of other tokens.
    """
    readings = model.read(_messages(prompts), [str(prompt.wanted) for prompt in prompts])
    doubtful = [prompt for prompt, reading in zip(prompts, readings, strict=True) if not reading.first_choice]
    replies = model.replies(_messages(doubtful), tokens_max=REPLY_TOKENS_MAX) if doubtful else []
    return {
        prompt.text: reply.text
        for prompt, reply in zip(doubtful, replies, strict=True)
        if not reply.ended or reply.text.strip() != str(prompt.wanted).strip()
    }


def decision(reply: str, marks: tuple[str, ...]) -> str:
    """What kind of reply it is: by a rule, JSON, code, or sentences."""
    if reply.startswith(marks):
        return "rule"
    form = form_of(reply)
    if form is Form.JSON:
        return "json"
    is_code = form is Form.MIXED or (form is Form.PYTHON and "\n" in reply)
    return "code" if is_code else "sentences"


def _taught(world: ProseWorld, agent: str, wave: int) -> list[str]:
    """Some replies by the rules so far."""
    return [
        str(prompt.wanted)
        for number in range(1, wave + 1)
        for about in world.of_wave(agent, number)
        for prompt in world.about(about, QUESTIONS, seed="taught", held_out=False)
    ]


def _likeness(replies: Sequence[ProseReply], other_replies: Sequence[ProseReply]) -> float:
    """Mean similarity of two replies to each prompt, by words and trigrams."""
    return _mean(
        similarity(text_features(reply.text), text_features(other_reply.text))
        for reply, other_reply in zip(replies, other_replies, strict=True)
    )


def _messages(prompts: Sequence[ProsePrompt]) -> list[tuple[Mapping[str, str], ...]]:
    return [prompt.messages for prompt in prompts]


def _share(values: Iterable[bool]) -> float:
    return _mean(float(value) for value in values)


def _mean(values: Iterable[float]) -> float:
    return round(statistics.fmean(values), 4)
