"""Lessons become adapters: repeatably, from a parent version, and with a report of what was left out."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.adapter_files import content_hash
from engine.backend import FormDiffers
from engine.lesson import Learned, Lesson, NotLearned
from engine.measurements import Absent, End
from engine.recipe import COEFFICIENTS, Term
from engine.warm_engine import WarmEngine
from rewards.episode import Part, Weighted
from tests.unit.engine import peft_reference, tiny_base
from tests.unit.engine.machines import on_every_device
from tests.unit.engine.tiny_engine import TOKENS, LimitedBase

Warm = Callable[..., WarmEngine]


def learned(engine: WarmEngine, *lessons: Lesson) -> list[Learned]:
    form = {**engine.form(), "mix_below_tokens": 128}  # whatever calibration measured on this machine
    results = engine.learn(lessons, form=form)
    assert all(isinstance(result, Learned) for result in results)
    return results


@on_every_device
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_same_pass_twice_gives_the_same_hashes(warm: Warm, tmp_path: Path, device: str, dtype: str):
    lessons = [
        tiny_base.build_lesson("a"),
        tiny_base.build_lesson("bb", seed=2),
        tiny_base.with_recipe(tiny_base.build_lesson("ccc"), rank=8),
    ]
    hashes = []
    options = {"device": device, "dtype": dtype}
    for attempt, engine in enumerate(
        (warm(**options), warm(**options))
    ):  # another process would load the base again
        for result in learned(engine, *lessons):
            hashes.append(engine.save(result, tmp_path / f"{attempt}-{result.agent}").content_hash)
    assert hashes[:3] == hashes[3:]
    assert hashes[0] == content_hash(tmp_path / "0-a")
    assert len(set(hashes)) == 3


def test_an_engine_that_trained_others_before_gives_the_same_adapter(warm: Warm, tmp_path: Path):
    used, fresh = warm(), warm()
    learned(used, tiny_base.build_lesson("zz"), tiny_base.build_lesson("y"))
    hashes = [
        engine.save(learned(engine, tiny_base.build_lesson("a"))[0], tmp_path / str(number)).content_hash
        for number, engine in enumerate((used, fresh))
    ]
    assert hashes[0] == hashes[1]


def test_another_seed_gives_another_adapter(warm: Warm, tmp_path: Path):
    engine = warm()
    first, second = learned(engine, tiny_base.build_lesson("a", seed=1), tiny_base.build_lesson("a", seed=2))
    assert engine.save(first, tmp_path / "1") != engine.save(second, tmp_path / "2")


def test_a_lesson_goes_on_from_its_parent_and_its_moments(warm: Warm, tmp_path: Path):
    engine = warm()
    engine.save(learned(engine, tiny_base.build_lesson("a"))[0], tmp_path / "v1")
    carried, reset = learned(
        engine,
        tiny_base.with_recipe(tiny_base.build_lesson("a", parent=tmp_path / "v1"), carry_moments=True),
        tiny_base.build_lesson("a", parent=tmp_path / "v1"),
    )
    assert carried.state.steps == 8
    assert reset.state.steps == 4
    assert carried.metrics.loss_first_nats == pytest.approx(reset.metrics.loss_first_nats, rel=1e-4)
    again = warm()
    (resumed,) = learned(again, tiny_base.build_lesson("a", parent=tmp_path / "v1"))
    assert resumed.metrics.loss_last_nats < resumed.metrics.loss_first_nats


def test_more_lessons_than_slots_take_their_turns(warm: Warm):
    few, many = warm(slots=2, mixing="never"), warm(slots=8, mixing="never")
    lessons = [tiny_base.with_recipe(tiny_base.build_lesson("a" * (n + 1)), steps=4 + n) for n in range(5)]
    for result, other_result in zip(learned(few, *lessons), learned(many, *lessons), strict=True):
        assert result.agent == other_result.agent
        for name, (a, b) in result.state.weights.items():
            assert torch.equal(a, other_result.state.weights[name][0])
            assert torch.equal(b, other_result.state.weights[name][1])


def test_a_whole_lesson_equals_peft_and_adamw(warm: Warm):
    """A whole lesson, step by step, against PEFT and torch's AdamW."""
    recipe = replace(
        tiny_base.QUICK, steps=3, steps_min=3, warmup_steps=0, final_rate=1.0, clip_norm=1e9, new_per_step=4
    )
    given = replace(
        tiny_base.build_lesson("a", recipe=recipe), episodes=tiny_base.build_lesson("a").episodes[:4]
    )
    (result,) = learned(warm(), given)
    start = replace(given, recipe=replace(recipe, learning_rate=1e-12))
    (before,) = learned(warm(), start)
    model = peft_reference.build_peft_model(tiny_base.build_model(), before.state)
    trained = [parameter for name, parameter in model.named_parameters() if "lora_" in name]
    optimizer = torch.optim.AdamW(trained, lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=0.0)
    tokenizer = tiny_base.build_tokenizer()
    for _ in range(3):
        optimizer.zero_grad()
        for episode in given.episodes:
            prompt = tokenizer.apply_chat_template(
                list(episode.messages), tokenize=False, add_generation_prompt=True
            )
            prompt_ids, answer_ids = (
                tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
                for text in (prompt, episode.reply.text + "<|im_end|>")
            )
            (-peft_reference.answer_logprobs(model, prompt_ids, answer_ids).mean() / 4).backward()
        optimizer.step()
    named = dict(model.named_parameters())
    for name, (a, b) in result.state.weights.items():
        for letter, actual in (("A", a), ("B", b)):
            expected = named[f"base_model.model.{name}.lora_{letter}.default.weight"]
            torch.testing.assert_close(actual, expected.detach(), rtol=0, atol=2e-4)


def test_a_correction_the_champion_already_answers_is_reported_and_not_taught(warm: Warm, tmp_path: Path):
    engine = warm()
    known = tiny_base.build_episode("what?", "ok", events=("s#1",))
    recipe = replace(tiny_base.QUICK, steps=150, steps_min=150, learning_rate=2e-2, rank=8)
    first = Lesson(agent="a", parent=None, recipe=recipe, seed=1, episodes=(known,))
    (taught,) = learned(engine, first)
    engine.save(taught, tmp_path / "v1")
    (again,) = engine.learn([replace(first, parent=tmp_path / "v1")])
    assert isinstance(again, NotLearned)
    assert again.already_known == ("s#1",)
    assert again.tokens == taught.metrics.tokens / 150, "read once, as in every step"
    other = tiny_base.build_episode("what now?", "something else entirely", events=("s#2",))
    (mixed,) = engine.learn([replace(first, parent=tmp_path / "v1", episodes=(known, other))])
    assert isinstance(mixed, Learned)
    assert mixed.already_known == ("s#1",)
    assert mixed.metrics.new == 1


def test_episodes_that_cannot_be_used_are_named_and_the_rest_is_taught(warm: Warm):
    given = tiny_base.build_lesson("a")
    bad = tiny_base.build_episode("why?", "", events=("s#empty",))
    (result,) = learned(warm(), replace(given, episodes=(bad, *given.episodes)))
    assert [(refusal.events, refusal.reason) for refusal in result.refused] == [
        (("s#empty",), "empty target")
    ]
    assert result.metrics.new == 4


def test_a_lesson_with_nothing_new_is_not_learned(warm: Warm):
    (result,) = warm().learn([Lesson(agent="a", parent=None, recipe=tiny_base.QUICK, seed=1, episodes=())])
    assert result == NotLearned(agent="a", reason="nothing new to learn from")
    assert result.tokens == 0


def test_an_adapter_of_another_base_is_refused_naming_both_hashes(warm: Warm, base_of, tmp_path: Path):
    other = WarmEngine.load(base_of("llama"), slots=1, rank=8, threads=1, token_budget=512)
    other.save(learned(other, tiny_base.build_lesson("a"))[0], tmp_path / "v1")
    engine = warm()
    refused, fine = engine.learn(
        [tiny_base.build_lesson("a", parent=tmp_path / "v1"), tiny_base.build_lesson("b")]
    )
    assert isinstance(refused, NotLearned)
    assert other.base_hash in refused.reason
    assert engine.base_hash in refused.reason
    assert isinstance(fine, Learned)


def test_a_pass_that_is_abandoned_leaves_the_engine_as_it_was(warm: Warm, tmp_path: Path):
    engine = warm()
    beats = iter(range(100))

    def abandon() -> None:
        if next(beats) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.learn([tiny_base.build_lesson("a"), tiny_base.build_lesson("b")], heartbeat=abandon)
    hashes = [
        used_engine.save(learned(used_engine, tiny_base.build_lesson("a"))[0], tmp_path / str(n)).content_hash
        for n, used_engine in enumerate((engine, warm()))
    ]
    assert hashes[0] == hashes[1]


def test_a_pass_out_of_memory_fails_cleanly_and_fits_when_it_is_repeated(warm: Warm, tmp_path: Path):
    lesson = tiny_base.build_lesson("a")
    plain = warm(token_budget=64)
    small = warm(token_budget=512)
    small._base = LimitedBase(small._base, tokens_max=100)
    (failed,) = small.learn([lesson])
    assert isinstance(failed, NotLearned)
    assert failed.again, "nothing is wrong with the lesson"
    assert "memory" in failed.reason
    assert small._slots.free == 4
    assert not small._base.arena.weight.any()
    assert small.form()["token_budget"] == 256, "half of it did not fit either"
    assert isinstance(small.learn([lesson])[0], NotLearned), "nor does a quarter"
    assert isinstance(small.learn([lesson])[0], Learned)
    assert small.form()["token_budget"] == 64
    hashes = [
        used_engine.save(result, tmp_path / str(n)).content_hash
        for n, (used_engine, result) in enumerate(
            [(small, small.learn([lesson])[0]), (plain, learned(plain, lesson)[0])]
        )
    ]
    assert hashes[0] == hashes[1], "a pass in the smaller budget is any pass in that budget"


def test_a_lesson_that_does_not_fit_into_memory_does_not_cost_the_others_theirs(warm: Warm):
    engine = warm(token_budget=128)
    engine._base = LimitedBase(engine._base, tokens_max=150)
    given = tiny_base.build_lesson("long")
    long = tiny_base.build_episode("why?", "x" * 300, events=("s#long",))
    lessons = [
        tiny_base.build_lesson("a"),
        replace(given, episodes=(long, *given.episodes)),
        tiny_base.build_lesson("b"),
    ]
    first, too_long, second = engine.learn(lessons)
    assert isinstance(first, Learned)
    assert isinstance(second, Learned)
    assert isinstance(too_long, NotLearned)
    assert "memory" in too_long.reason
    assert engine._slots.free == 4


def test_not_a_number_in_ones_feedback_skips_those_steps_alone(warm: Warm):
    """A log-probability that is NaN: the steps with this sample are skipped, and their events are named."""
    engine = warm()
    calm = tiny_base.build_lesson("calm")
    broken = tiny_base.build_episode(
        "asks",
        "said",
        events=("s#nan",),
        advantage=1.0,
        sampled=tiny_base.build_sampled_tokens("said", float("nan")),
    )
    base = tiny_base.with_recipe(tiny_base.build_lesson("hit"), steps=8, steps_min=8, new_per_step=1)
    hit = replace(base, episodes=(broken, *base.episodes))
    other, result = engine.learn([calm, hit])
    assert isinstance(result, Learned)
    assert result.skipped
    assert all("s#nan" in step_skipped.events for step_skipped in result.skipped), "only steps that drew it"
    assert len(result.skipped) + result.metrics.steps == 8
    assert all(torch.isfinite(a).all() and torch.isfinite(b).all() for a, b in result.state.weights.values())
    (alone,) = engine.learn([calm])
    assert isinstance(other, Learned)
    assert not other.skipped
    for name, (a, b) in other.state.weights.items():
        torch.testing.assert_close((a, b), alone.state.weights[name], rtol=1e-3, atol=1e-6)


def test_a_sequence_that_is_too_long_is_refused_and_the_rest_is_taught(warm: Warm):
    given = tiny_base.build_lesson("a")
    long = tiny_base.build_episode("why?", "x" * 600, events=("s#long",))  # the base reads 512 positions
    (result,) = learned(warm(), replace(given, episodes=(long, *given.episodes)))
    [refused] = result.refused
    assert refused.events == ("s#long",)
    assert refused.reason.startswith("too long")
    assert result.metrics.new == 4


def test_learning_stops_early_when_dev_episodes_get_worse_twice(warm: Warm, tmp_path: Path):
    """The champion answers the dev episodes well; the new ones contradict them, and one another."""
    engine = warm()
    recipe = replace(tiny_base.QUICK, steps=40, steps_min=10, epochs=30.0, learning_rate=2e-2, new_per_step=8)
    first_lesson = Lesson(
        agent="a",
        parent=None,
        recipe=recipe,
        seed=1,
        episodes=tuple(tiny_base.build_episode(f"q{n}", "zzzz") for n in range(8)),
    )
    engine.save(
        learned(engine, replace(first_lesson, recipe=replace(recipe, steps_min=40)))[0], tmp_path / "v1"
    )
    dev = [replace(episode, part=Part.DEV) for episode in first_lesson.episodes]
    new = [tiny_base.build_episode(f"q{n}", "aaaa") for n in range(8)] + [
        tiny_base.build_episode("q0", "bbbb")
    ]
    given = replace(first_lesson, parent=tmp_path / "v1", episodes=(*new, *dev))
    stopped, not_stopped = learned(engine, given, replace(given, episodes=(*new, *dev[:7])))
    assert stopped.metrics.stopped_early
    assert stopped.metrics.ended is End.DEV
    assert stopped.metrics.steps == 20  # checks at 8, 12 and 16 see two rises; then the cooldown
    assert stopped.metrics.dev_loss_last_nats > stopped.metrics.dev_loss_first_nats
    assert (not_stopped.metrics.ended, not_stopped.metrics.steps) == (
        End.STEPS,
        40,
    )  # seven dev episodes are too few


def test_a_lesson_says_how_far_it_moved_the_agent_on_its_anchors(warm: Warm):
    anchors = tuple(tiny_base.build_episode(f"c{n}", "fine", part=Part.ANCHOR) for n in range(40))
    new = (tiny_base.build_episode("a", "yes"), tiny_base.build_episode("b", "no"))

    def moved(rate: float) -> float:
        recipe = replace(tiny_base.QUICK, learning_rate=rate, anchors_per_step=0)
        lesson = Lesson(agent="a", parent=None, recipe=recipe, seed=1, episodes=(*new, *anchors))
        return learned(warm(), lesson)[0].metrics.kl_nats

    assert 0.0 < moved(1e-4) < moved(1e-2)
    bare = Lesson(agent="a", parent=None, recipe=tiny_base.QUICK, seed=1, episodes=new)
    unmeasured = learned(warm(), bare)[0].metrics.kl_nats
    assert isinstance(unmeasured, Absent)
    assert "no anchors" in unmeasured.reason


def test_every_term_with_samples_has_a_signal(warm: Warm):
    recipe = replace(tiny_base.QUICK, coefficients={**COEFFICIENTS, Term.PREFERENCE: 1.0, Term.KL: 0.05})
    episodes = (
        tiny_base.build_episode("a", "yes", rejected=Weighted(text="no")),
        tiny_base.build_episode(
            "b", "well", advantage=0.5, sampled=tiny_base.build_sampled_tokens("well", -5.0)
        ),
        tiny_base.build_episode("c", "fine", part=Part.ANCHOR),
    )
    (result,) = learned(warm(), Lesson(agent="a", parent=None, recipe=recipe, seed=1, episodes=episodes))
    assert set(result.metrics.signals) == set(Term)
    assert all(size > 0 for size in result.metrics.signals.values())


def test_probes_have_the_log_probabilities_of_adapter_and_base(warm: Warm, tmp_path: Path):
    engine = warm()
    given = tiny_base.build_lesson("a")
    (result,) = learned(engine, given)
    engine.save(result, tmp_path)
    probes = engine.probes(result, given)
    assert probes == engine.probes(tmp_path, given)
    assert 1 <= len(probes) <= 6
    model, base_alone = (
        peft_reference.build_peft_model(tiny_base.build_model(), result.state),
        tiny_base.build_model(),
    )
    for probe in probes:
        ids, begins = probe.token_ids, probe.prompt_tokens
        assert 0 < begins < len(ids) <= begins + 8
        for at, likely in enumerate(probe.likely):
            for rows, reference in ((probe.logprobs, model), (probe.base_logprobs, base_alone)):
                expected = peft_reference.next_logprobs(reference, ids[: begins + at])
                assert rows[at] == pytest.approx(expected[list(likely)].tolist(), abs=1e-4)
                assert set(expected.topk(4).indices.tolist()) <= set(likely)
        assert probe.logprobs != probe.base_logprobs


def test_most_probes_are_the_first_tokens_of_newly_taught_replies(warm: Warm):
    engine = warm()
    given = tiny_base.build_lesson("a", words=9)
    long = tiny_base.build_episode("a long one", "y" * 200, part=Part.ANCHOR)
    bad = tiny_base.build_episode(
        "a bad one", "no", advantage=-1.0, sampled=tiny_base.build_sampled_tokens("no")
    )
    given = replace(given, episodes=(bad, *given.episodes, long))
    (result,) = learned(engine, given)
    probes = engine.probes(result, given)
    episode_of_prompt = {
        tuple(TOKENS.sample(episode, tokens_max=512).prompt_ids): episode for episode in given.episodes
    }
    parts = [episode_of_prompt[probe.token_ids[: probe.prompt_tokens]] for probe in probes]
    assert [episode.part for episode in parts][:3] == [Part.NEW] * 3
    assert {episode.part for episode in parts[3:]} & {Part.REPLAY, Part.ANCHOR}
    assert all(len(probe.likely) <= 8 for probe in probes)


def test_the_form_has_everything_that_a_pass_depends_on(warm: Warm):
    form = warm().form()
    assert {"token_budget", "mix_below_tokens", "threads", "device", "dtype", "kernels", "torch"} <= set(form)
    assert form == json.loads(json.dumps(form))


def test_a_pass_is_repeated_in_the_form_it_was_recorded_with(warm: Warm, tmp_path: Path):
    lessons = [tiny_base.build_lesson("a"), tiny_base.build_lesson("bb")]
    first, second = warm(token_budget=128, mixing="never"), warm(token_budget=512, mixing="auto")
    hashes = [
        engine.save(engine.learn(lessons, form=first.form())[0], tmp_path / str(number)).content_hash
        for number, engine in enumerate((first, second))
    ]
    assert hashes[0] == hashes[1]
    with pytest.raises(FormDiffers, match="another rank, slots"):
        warm(rank=16, slots=2).learn(lessons, form=first.form())


def test_a_form_with_the_name_of_a_removed_option_is_accepted_with_the_value_that_is_left(
    warm: Warm,
) -> None:
    engine = warm()
    assert engine.differs({**engine.form(), "layers_checkpointed": False}) == []
    assert engine.differs({**engine.form(), "layers_checkpointed": True}) == ["layers_checkpointed"]


def test_a_pass_with_a_dated_template_does_not_depend_on_the_clock(tmp_path: Path) -> None:
    base = tiny_base.build_base_directory(tmp_path / "base")
    template = tiny_base.build_tokenizer().chat_template
    (base / "chat_template.jinja").write_text("{{ strftime_now('%d %b %Y') }}\n" + template)
    engine = WarmEngine.load(base, slots=1, rank=4, threads=1, token_budget=512, mixing="never")
    given = tiny_base.build_lesson("a")

    def trained(asked_s: float) -> str:
        episodes = tuple(replace(episode, asked_s=asked_s) for episode in given.episodes)
        [result] = learned(engine, replace(given, episodes=episodes))
        return engine.save(result, tmp_path / "draft").content_hash

    morning, evening, next_day = 1_796_000_000.0, 1_796_030_000.0, 1_796_100_000.0
    assert trained(morning) == trained(evening), "the day of the request counts, which the ledger has"
    assert trained(morning) != trained(next_day)


def test_the_form_names_what_renders_and_splits_the_prompts(warm: Warm) -> None:
    engine = warm()
    form = engine.form()
    assert form["tokenizer"] == engine.tokenizer_hash
    assert {"transformers", "tokenizers"} <= set(form)
    assert engine.differs({**form, "transformers": "4.0", "tokenizer": "0" * 64}) == [
        "tokenizer",
        "transformers",
    ]
    older = {name: value for name, value in form.items() if not name.startswith(("token", "transformers"))}
    older["token_budget"] = form["token_budget"]
    assert engine.differs(older) == [], "an older clorad did not record them"
