"""Shows conversations with tools in the demo: one that an operator takes over, and the next one, taught."""

import random
from collections.abc import Callable, Sequence

import openai

from examples.base_model.heldout_conversations import same_turns
from examples.base_model.slots import SlotValues, read_words
from examples.house_rules.people.gateway import GatewayClient
from examples.house_rules.people.talk import talk, talk_lines
from examples.house_rules.world import World


class ShownTalks:
    """What the demo shows of the agent that has tools; nothing in a world without one."""

    def __init__(self, world: World, gateway: str, show: Callable[[str], None]) -> None:
        self._world = world
        self._gateway = GatewayClient(gateway)
        self._show = show
        self._source = SlotValues(random.Random("shown"), read_words(), held_out=True)
        self._took_over = False

    def show_takeover(self, person: str, agent: str, lines: Sequence[str]) -> None:
        """Show the first conversation that an operator took over."""
        if not self._took_over:
            self._took_over = True
            self._show_lines(f"{person} takes over a conversation with {agent}:", lines)

    def show_next(self, agent: str, wave: int) -> None:
        """Hold and show a new conversation by the wave's first rule, where the agent has tools."""
        skill = self._world.acting
        if skill is None or not self._world.has_tools(agent):
            return
        asked = self._world.ruled_conversation(self._world.of_wave(agent, wave)[0], self._source)
        try:
            held = talk(self._gateway, skill, asked, captured=False)
        except openai.OpenAIError as fault:
            self._show(f"{agent}: no answer in the next conversation: {type(fault).__name__}")
            return
        wanted = skill.messages(self._world.wanted(asked, self._world.announced(agent, wave)))
        right = "right" if same_turns(held.messages, wanted) else "not as people want"
        self._show_lines(f"the next conversation with {agent} is {right}:", talk_lines(held.messages))

    def _show_lines(self, title: str, lines: Sequence[str]) -> None:
        for line in (title, *(f"  {line}" for line in lines)):
            self._show(line)
