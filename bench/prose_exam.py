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

    `decision_kept` is the share of other prompts whose reply is of the same kind as before: by a rule, JSON,
    code, or sentences; `decision_kept_by_samples` says the same of the base's own replies at temperature 1.
    `harmless` is the share that the gate's scorer calls no harm: it compares replies of a few words exactly,
    and so counts each of them that is worded in another way.
    """
    followed = {}
    for number in range(1, wave + 1):
        prompts = [
            prompt
            for about in world.of_wave(agent, number)
            for prompt in world.about(about, QUESTIONS, seed="exam", held_out=True)
        ]
        followed[str(number)] = _share(answered_as_wanted(model, prompts))
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
    kept = [
        decision(now.text, marks) == decision(was.text, marks) for was, now in zip(before, after, strict=True)
    ]
    return {
        "followed": followed,
        "near_leaked": _share(reply.text.startswith(marks) for reply in after[: len(near)]),
        "near_leaked_by_base": _share(reply.text.startswith(marks) for reply in before[: len(near)]),
        "decision_kept": _share(kept),
        "decision_kept_by_samples": _share(
            decision(was.text, marks) == decision(sample.text, marks)
            for drawn in samples
            for was, sample in zip(before, drawn, strict=True)
        ),
        "harmless": _share(not is_harm for is_harm in harms),
        "changed": [
            {"asked": prompt.text, "before": was.text, "after": now.text, "decision_kept": same}
            for prompt, was, now, same, is_harm in zip(
                [*near, *chat], before, after, kept, harms, strict=True
            )
            if is_harm or not same
        ],
        "likeness": _likeness(before, after),
        "likeness_of_samples": _likeness(*samples),
        "same_share": round(statistics.fmean(reading.same_share for reading in readings), 4),
        "kl_nats": round(statistics.fmean(reading.kl_nats for reading in readings), 4),
    }


def answered_as_wanted(model: ProseModel, prompts: Sequence[ProsePrompt]) -> list[bool]:
    """Whether the greedy reply to each prompt is the wanted one, to the letter.

    It is generated only where not every token of the wanted one is the first choice: the same text may be
    made of other tokens.
    """
    readings = model.read(_messages(prompts), [str(prompt.wanted) for prompt in prompts])
    doubtful = [prompt for prompt, reading in zip(prompts, readings, strict=True) if not reading.first_choice]
    replies = model.replies(_messages(doubtful), tokens_max=REPLY_TOKENS_MAX) if doubtful else []
    wrong = {
        prompt.text
        for prompt, reply in zip(doubtful, replies, strict=True)
        if not reply.ended or reply.text.strip() != str(prompt.wanted).strip()
    }
    return [prompt.text not in wrong for prompt in prompts]


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
