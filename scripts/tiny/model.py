"""The network: llama's architecture, small. Rotary embedding turns neighbouring pairs, as llama.cpp does."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_PLAIN_ATTENTION_UP_TO = 1024


@dataclass(frozen=True, slots=True)
class Shape:
    """The model's dimensions; widths are multiples of 32, as Q8_0 wants."""

    n_vocab: int
    n_embd: int = 192
    n_layer: int = 6
    n_head: int = 6
    n_head_kv: int = 3
    n_ff: int = 576
    n_ctx: int = 2048
    rope_base: float = 10_000.0
    norm_eps: float = 1e-5

    @property
    def head_dim(self) -> int:
        """The width of one attention head."""
        return self.n_embd // self.n_head


def rope_table(shape: Shape) -> Tensor:
    """Cosines and sines, [2, n_ctx, head_dim / 2]."""
    frequency = shape.rope_base ** (-torch.arange(0, shape.head_dim, 2).float() / shape.head_dim)
    angle = torch.outer(torch.arange(shape.n_ctx).float(), frequency)
    return torch.stack((angle.cos(), angle.sin()))


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Turns the pairs (0, 1), (2, 3) ... of [batch, time, head, head_dim] by their position's angle."""
    cos, sin = table[0][:, None, :], table[1][:, None, :]
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention; on short rows two plain products cost half of the fused kernel's backward pass."""
    time = q.shape[2]
    if time > _PLAIN_ATTENTION_UP_TO or q.is_cuda:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    future = torch.full((time, time), float("-inf"), device=q.device, dtype=q.dtype).triu(1)
    scores = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(2, 3)) + future
    return torch.matmul(scores.softmax(-1), v)


class Block(nn.Module):
    """One layer: attention with grouped keys and values, then SwiGLU."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        kv = shape.n_head_kv * shape.head_dim
        self.attn_norm = nn.RMSNorm(shape.n_embd, eps=shape.norm_eps)
        self.attn_q = nn.Linear(shape.n_embd, shape.n_embd, bias=False)
        self.attn_k = nn.Linear(shape.n_embd, kv, bias=False)
        self.attn_v = nn.Linear(shape.n_embd, kv, bias=False)
        self.attn_output = nn.Linear(shape.n_embd, shape.n_embd, bias=False)
        self.ffn_norm = nn.RMSNorm(shape.n_embd, eps=shape.norm_eps)
        self.ffn_gate = nn.Linear(shape.n_embd, shape.n_ff, bias=False)
        self.ffn_up = nn.Linear(shape.n_embd, shape.n_ff, bias=False)
        self.ffn_down = nn.Linear(shape.n_ff, shape.n_embd, bias=False)

    def forward(self, x: Tensor, table: Tensor) -> Tensor:
        """[batch, time, n_embd] to the same."""
        batch, time, _ = x.shape
        h = self.attn_norm(x)
        q = rotate(self.attn_q(h).view(batch, time, self.shape.n_head, -1), table).transpose(1, 2)
        k = rotate(self.attn_k(h).view(batch, time, self.shape.n_head_kv, -1), table).transpose(1, 2)
        v = self.attn_v(h).view(batch, time, self.shape.n_head_kv, -1).transpose(1, 2)
        groups = self.shape.n_head // self.shape.n_head_kv
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        attended = attention(q, k, v)
        x = x + self.attn_output(attended.transpose(1, 2).flatten(2))
        h = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))


class Tiny(nn.Module):
    """The whole network; the embedding is also the output layer."""

    table: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.n_vocab, shape.n_embd)
        self.blk = nn.ModuleList(Block(shape) for _ in range(shape.n_layer))
        self.output_norm = nn.RMSNorm(shape.n_embd, eps=shape.norm_eps)
        self.register_buffer("table", rope_table(shape), persistent=False)
        nn.init.normal_(self.token_embd.weight, std=0.02)
        for name, weight in self.blk.named_parameters():
            if weight.ndim == 2:
                scale = (2 * shape.n_layer) ** -0.5 if "output" in name or "down" in name else 1.0
                nn.init.normal_(weight, std=scale * shape.n_embd**-0.5)

    def hidden(self, ids: Tensor) -> Tensor:
        """Ids [batch, time] to normalised hidden states [batch, time, n_embd]."""
        x = self.token_embd(ids)
        table = self.table[:, : ids.shape[1]]
        for block in self.blk:
            x = block(x, table)
        return self.output_norm(x)

    def loss(self, ids: Tensor, learnt: Tensor) -> Tensor:
        """Mean cross entropy of the ids marked as learnt, each predicted from those before it."""
        hidden = self.hidden(ids[:, :-1])[learnt[:, 1:]]
        logits = F.linear(hidden, self.token_embd.weight)
        return F.cross_entropy(logits.float(), ids[:, 1:][learnt[:, 1:]])

    @torch.inference_mode()
    def greedy(self, ids: list[int], n_predict: int, ends: frozenset[int]) -> list[int]:
        """The most probable continuation, without the token that ends it."""
        out: list[int] = []
        for _ in range(n_predict):
            window = torch.tensor([[*ids, *out]], device=self.table.device)
            best = int(F.linear(self.hidden(window)[0, -1], self.token_embd.weight).argmax())
            if best in ends:
                break
            out.append(best)
        return out

    def n_params(self) -> int:
        """How many numbers the model consists of."""
        return sum(p.numel() for p in self.parameters())
