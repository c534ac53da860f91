"""The settings under `[gateway.limits]`: what clients may ask of the gateway."""

from pydantic import Field

from daemon.setting_group import SettingGroup


class LimitSettings(SettingGroup):
    """What one client, and all of them together, may ask of the gateway."""

    body_kib_max: int = Field(default=4096, ge=1)
    """KiB of a request's body: 128,000 tokens of text, every character escaped, and an image fit."""
    bodies_mib_max: int = Field(default=64, ge=1)
    """MiB of all larger bodies being read or answered, decoded; beyond, large requests get a 503."""
    large_mib_per_s_max: int = Field(default=4, ge=1)
    """MiB a second of bodies above 64 KiB from one key or address, twice that at once; beyond, a 429."""
    depth_max: int = Field(default=64, ge=8, le=500)
    """Levels of lists and objects in a body; JSON schemas of tools take two levels a level."""
    values_max: int = Field(default=100_000, ge=1000)
    """JSON values in a body: decoding that many takes some 20 ms, in which nobody else is answered."""
    captures_mib_max: int = Field(default=32, ge=1)
    """MiB of captures that wait for Kafka; beyond, interactions are not captured."""
    requests_max: int = Field(default=1024, ge=1)
    """Requests answered at once; beyond, clients get a 503."""
    answer_mib_max: int = Field(default=64, ge=1)
    """MiB of one answer of a replica, streams too: 500 long embeddings fit; beyond, the client gets a 502."""
    answers_mib_max: int = Field(default=256, ge=1)
    """MiB of all larger answers until their clients have them; beyond, a 503, or they are not captured."""
    requests_per_s_max: int = Field(default=2000, ge=1)
    """Requests a second from one address; beyond, a 429. A proxy in front of the gateway is one address."""
    choices_max: int = Field(default=128, ge=1)
    """Choices that one request has generated, of all its prompts (OpenAI takes 128); beyond, a 400."""
    header_kib_max: int = Field(default=32, ge=1)
    """KiB of one request's headers, as much as other servers allow; beyond, a 431."""
    headers_max: int = Field(default=100, ge=10)
    """Headers of one request, as many as other servers allow; beyond, a 431."""
    header_s_max: float = Field(default=10.0, gt=0)
    """Seconds for a request's headers, from its first byte; slower clients get a 408."""
    body_s_max: float = Field(default=60.0, gt=0)
    """Seconds for a request's body: the largest arrives at 300 kbit/s; slower clients get a 408."""
    idle_s_max: float = Field(default=75.0, gt=0)
    """Seconds a connection may wait for a request; clients that keep theirs for longer find it closed."""
    connections_max: int = Field(default=2048, ge=16)
    """Connections of clients; beyond, those that wait make room. Each answer needs another to its replica."""
