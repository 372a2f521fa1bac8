"""The oracle of DeepSeek-V3.2: Hugging Face transformers in float32 on the CPU.

The library computes the index without its Hadamard transform and quantisation, and keeps latents as they are; both
are part of the released model and are put in here, in words of their own, with what they chose.
"""
import numpy as np
import torch
from transformers import DeepseekV32Config, DeepseekV32ForCausalLM
from transformers.models.deepseek_v32 import modeling_deepseek_v32 as modeling

from v2 import oracle as v2
from v2.oracle import VERSIONS  # noqa: F401

v2.CLASSES["deepseek_v32"] = DeepseekV32Config, DeepseekV32ForCausalLM
BLOCK = 128


def fp8(x):
    """Quantised and dequantised: blocks of 128, scales that are powers of two."""
    blocks = x.reshape(*x.shape[:-1], -1, BLOCK)
    largest = blocks.abs().amax(-1, keepdim=True).clamp(min=1e-4)
    scale = torch.exp2(torch.ceil(torch.log2(largest * np.float32(1 / 448))))
    codes = (blocks / scale).clamp(-448, 448).to(torch.float8_e4m3fn)
    return (codes.to(torch.float32) * scale).reshape(x.shape)


def hadamard(n):
    """Entry [i][j] is -1 to the number of ones that i and j share."""
    matrix = np.ones((1, 1))
    while len(matrix) < n:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return torch.tensor(matrix / n ** 0.5, dtype=torch.float32)


def flat(x):
    return x.reshape(x.shape[1], -1).numpy().astype("<f4")


class Layer:
    """One layer's attention, with what it keeps quantised."""

    def __init__(self, number, attention, choices):
        self.number, self.choices, self.indexer = number, choices, attention.indexer
        attention.kv_a_layernorm.register_forward_hook(self.latent)
        attention.indexer.forward = self.select
        self.hadamard = hadamard(self.indexer.head_dim)

    def put(self, name, values):
        self.choices[f"layers.{self.number}.{name}"] = values

    def latent(self, module, args, result):
        self.kept = fp8(result)
        Layer.current = self  # its rotated part comes next
        return self.kept

    def rotated(self, key):
        """The library has the pairs' first elements, then their second ones; kept is pair by pair."""
        half = key.shape[-1] // 2
        pairs = torch.stack((key[..., :half], key[..., half:]), -1).flatten(-2)
        self.put("latent", np.concatenate((flat(self.kept), flat(pairs[:, 0])), 1))

    def index_vectors(self, x, cos, sin):
        """[positions][vectors][dim], rotated in halves on the first channels, transformed, quantised."""
        n = self.indexer.qk_rope_head_dim
        first, second = x[..., :n // 2], x[..., n // 2:n]
        c, s = cos[:, None, :n // 2], sin[:, None, :n // 2]
        x = torch.cat((first * c - second * s, second * c + first * s, x[..., n:]), -1)
        return fp8(x @ self.hadamard)

    def select(self, hidden, q_resid, position_embeddings, mask, *rest, **named):
        i, (cos, sin) = self.indexer, position_embeddings
        n = hidden.shape[1]
        q = self.index_vectors(i.wq_b(q_resid)[0].view(n, i.n_heads, i.head_dim), cos[0], sin[0])
        k = self.index_vectors(i.k_norm(i.wk(hidden))[0].view(n, 1, i.head_dim), cos[0], sin[0])
        weights = i.weights_proj(hidden)[0] * (i.n_heads * i.head_dim) ** -0.5
        scores = torch.einsum("ph,phk->pk", weights, torch.relu(torch.einsum("phd,kd->phk", q, k[:, 0])))
        scores = scores.masked_fill(torch.ones(n, n, dtype=torch.bool).triu(1), float("-inf"))
        # Equal scores: the earlier token.
        order = torch.sort(scores, descending=True, stable=True).indices[:, :i.index_topk]
        rows = np.full((n, i.index_topk), -1)
        for p in range(n):
            chosen = sorted(t for t in order[p].tolist() if t <= p)
            rows[p, :len(chosen)] = chosen
        self.put("index_query", q.reshape(n, -1).numpy())
        self.put("index_key", k.reshape(n, -1).numpy())
        self.put("topk", rows.astype("<f4"))
        return order[None].to(torch.int32)


rotate = modeling.apply_rotary_pos_emb_interleave


def rotate_and_round(q, k, *rest):
    q, k = rotate(q, k, *rest)
    k = k.to(torch.bfloat16).to(torch.float32)
    Layer.current.rotated(k)
    return q, k


modeling.apply_rotary_pos_emb_interleave = rotate_and_round


def run(directory, ids, noise=None):
    model, choices = v2.open_model(directory), {}
    for number, layer in enumerate(model.model.layers):
        Layer(number, layer.self_attn, choices)
    return v2.run_model(model, choices, ids, noise)
