"""Writes copying into the first weights of the base model, because minutes on a CPU do not train it.

Layer 0 starts as a previous-token head, layer 1 as an induction (copy) head (Olsson et al. 2022,
arXiv:2209.11895), which copies 94 % of tokens before any training. The checkpoint stays an ordinary Qwen3.
"""

from typing import Any

# The residual stream's dimensions: this token's identity, a constant, the previous token's identity.
_IDENTITY = 120
_CONSTANT = 120
_PREVIOUS = 128
_COPIED = 60  # identity dimensions that one head carries
_SHARPEST = 5  # highest rotary frequencies, which distinguish neighbouring positions
_BLURRED = 10  # from here on rotary frequencies hardly turn within a prompt: they carry content, not position


def new_model(vocabulary: int, end_token: int, padding_token: int) -> Any:
    """A Qwen3 of 2.26 M parameters with the structured start; uses torch's random state."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=vocabulary,
            hidden_size=256,
            num_hidden_layers=3,
            intermediate_size=640,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=64,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            rope_parameters={"rope_type": "default", "rope_theta": 1e6},
            eos_token_id=end_token,
            bos_token_id=None,
            pad_token_id=padding_token,
        )
    )
    _write_copying(model)
    return model


def _write_copying(model: Any) -> None:
    import torch

    with torch.no_grad():
        embedding = model.model.embed_tokens.weight
        embedding.normal_(0, 0.01)
        embedding[:, :_IDENTITY].normal_(0, 0.08)
        embedding[:, _CONSTANT] = 0.3
        for layer in model.model.layers:  # small random outputs, so that the two heads dominate at first
            layer.mlp.down_proj.weight.mul_(0.5)
            layer.self_attn.o_proj.weight.mul_(0.3)
        _previous_token_head(model.model.layers[0].self_attn, model.config.head_dim)
        _copy_heads(model.model.layers[1].self_attn, model.config.head_dim)


def _previous_token_head(attention: Any, head_dim: int) -> None:
    """Head 0 attends to the previous position and writes that token's identity beside the current one."""
    import torch

    half = head_dim // 2
    frequencies = 1e6 ** (-torch.arange(half).float() / half)
    key = torch.zeros(head_dim)
    key[:_SHARPEST] = 1.0
    query = torch.zeros(head_dim)  # the key, rotated by one position
    query[:_SHARPEST] = torch.cos(-frequencies[:_SHARPEST])
    query[half : half + _SHARPEST] = torch.sin(-frequencies[:_SHARPEST])
    for weight, direction in ((attention.q_proj.weight, query), (attention.k_proj.weight, key)):
        weight[:head_dim].mul_(0.1)
        weight[:head_dim, _CONSTANT] = direction
    attention.q_norm.weight.fill_(1.5)
    attention.k_norm.weight.fill_(1.5)
    attention.v_proj.weight[:_COPIED].mul_(0.1)
    attention.o_proj.weight[:, :head_dim].mul_(0.1)
    for dim in range(_COPIED):
        attention.v_proj.weight[dim, dim] = 1.0
        attention.o_proj.weight[_PREVIOUS + dim, dim] = 0.06


def _copy_heads(attention: Any, head_dim: int) -> None:
    """Heads 0 and 2 find an earlier place of the current token and write the token that followed it there.

    Query: this token; key: the token before; value: the token itself. Only the slow rotary
    dimensions take part, so that distance does not matter. Each head carries half of the identity.
    """
    half = head_dim // 2
    content = [*range(_BLURRED, half), *range(half + _BLURRED, head_dim)]
    for key_head in (0, 1):
        query_head = 2 * key_head  # two query heads share a key head
        queries = slice(query_head * head_dim, (query_head + 1) * head_dim)
        keys = slice(key_head * head_dim, (key_head + 1) * head_dim)
        attention.q_proj.weight[queries].mul_(0.1)
        attention.o_proj.weight[:, queries].mul_(0.1)
        attention.k_proj.weight[keys].mul_(0.1)
        attention.v_proj.weight[keys].mul_(0.1)
        for place, row in enumerate(content):
            attention.q_proj.weight[queries.start + row, place] = 1.0
            attention.k_proj.weight[keys.start + row, _PREVIOUS + place] = 1.0
        for dim in range(_COPIED):
            identity = key_head * _COPIED + dim
            attention.v_proj.weight[keys.start + dim, identity] = 1.0
            attention.o_proj.weight[identity, queries.start + dim] = 0.3
