"""The training loop: Muon for the matrices, AdamW for the rest, checkpoints, a progress bar. One thread."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from tokenizers import Tokenizer

from .batches import batches
from .model import Shape, Tiny


@dataclass(frozen=True, slots=True)
class Plan:
    """What is trained, for how long and how fast; the defaults are those of the first stage."""

    steps: int
    seed: int
    stage: int = 1
    device: str = "cpu"
    n_tokens: int = 4096
    peak_rate: float = 4e-3
    warmup_steps: int = 100
    horizon_steps: int = 2600
    cooldown_steps: int = 255
    weight_decay: float = 0.05
    half_precision: bool = True
    knots: tuple[tuple[int, float], ...] = ()

    def rate(self, step: int) -> float:
        """The rate of a step: a warm-up, a cosine over the horizon, a straight line to nought at the end.

        The line is what lets a training be ended well at any step, without having planned it from the start.
        Where the plan has knots, of a step and a share of the peak rate, straight lines between them are all.
        """
        for (first, share), (last, next_share) in pairwise(self.knots):
            if first <= step < last:
                return self.peak_rate * (share + (next_share - share) * (step - first) / (last - first))
        if step < self.warmup_steps:
            return self.peak_rate * (step + 1) / self.warmup_steps
        progress = min(1.0, (step - self.warmup_steps) / (self.horizon_steps - self.warmup_steps))
        cosine = 0.02 + 0.98 * (1 + math.cos(math.pi * progress)) / 2
        return self.peak_rate * cosine * min(1.0, (self.steps - step) / self.cooldown_steps)


def plan_of(stage: int, steps: int, seed: int, device: str = "cpu") -> Plan:
    """The plan of a stage. Those after the first take up weights that are trained already, at lower rates.

    The rates of both fell in several lines, since their ends were moved while they ran.
    """
    if stage == 1:
        return Plan(steps, seed, device=device)
    if stage == 2:
        knots = ((0, 0.02), (49, 1.0), (750, 1.0), (844, 0.866), (1052, 0.411), (steps, 0.0))
        return Plan(steps, seed, stage, device, peak_rate=3e-3, knots=knots)
    knots = ((0, 0.04), (30, 1.0), (723, 0.648), (steps, 0.0))
    return Plan(steps, seed, stage, device, peak_rate=1.5e-3, knots=knots)


class Training:
    """A model being trained, with all that a checkpoint must hold."""

    def __init__(self, plan: Plan, tokenizer: Tokenizer, folder: Path, model: Tiny | None = None) -> None:
        """`model` is what the training begins with: new weights of the plan's seed where none is given."""
        torch.manual_seed(plan.seed)
        folder.mkdir(parents=True, exist_ok=True)
        self.plan, self.tokenizer, self.path = plan, tokenizer, folder / "checkpoint.pt"
        self.model = (model or Tiny(Shape(tokenizer.get_vocab_size()))).to(plan.device)
        matrices = [p for p in self.model.blk.parameters() if p.ndim == 2]
        others = [p for p in self.model.parameters() if not any(p is m for m in matrices)]
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(
                matrices, lr=1.0, weight_decay=plan.weight_decay, adjust_lr_fn="match_rms_adamw"
            ),
            torch.optim.AdamW(others, lr=1.0, betas=(0.9, 0.98), weight_decay=0.0),
        ]
        self.step, self.pools, self.seconds = 0, 0, 0.0

    def save(self) -> None:
        """Writes the checkpoint, whole or not at all."""
        state = {
            "step": self.step,
            "pools": self.pools,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "optimizers": [o.state_dict() for o in self.optimizers],
        }
        part = self.path.with_suffix(".part")
        torch.save(state, part)
        part.replace(self.path)

    def resume(self) -> bool:
        """Takes up the checkpoint, if there is one."""
        if not self.path.exists():
            return False
        state = torch.load(self.path, map_location=self.plan.device, weights_only=True)
        self.step, self.pools, self.seconds = state["step"], state["pools"], state["seconds"]
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        return True

    def run(self) -> None:
        """Trains to the plan's last step; a checkpoint is written where a pool of examples ends."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("loss {task.fields[loss]:.3f}  {task.fields[speed]:,.0f} tokens/s"),
        )
        with Progress(*columns) as progress:
            bar = progress.add_task(
                "training", total=self.plan.steps, completed=self.step, loss=0.0, speed=0.0
            )
            loss_mean, speed, began = 0.0, 0.0, time.perf_counter()
            plan = self.plan
            for pools, ids, learnt in batches(
                self.tokenizer, plan.stage, plan.seed, plan.n_tokens, self.pools
            ):
                if self.step >= self.plan.steps:
                    break
                loss = self._step(ids, learnt)
                spent, began = time.perf_counter() - began, time.perf_counter()
                self.seconds += spent
                loss_mean += (loss - loss_mean) * (0.02 if loss_mean else 1.0)
                speed += (ids.numel() / spent - speed) * (0.02 if speed else 1.0)
                progress.update(bar, completed=self.step, loss=loss_mean, speed=speed)
                if pools > 0:
                    self.pools = pools
                    self.save()
                    print(f"step {self.step} loss {loss_mean:.4f} {speed:,.0f} tokens/s", flush=True)
        self.save()

    def _step(self, ids: torch.Tensor, learnt: torch.Tensor) -> float:
        rate = self.plan.rate(self.step)
        device = self.plan.device
        with torch.autocast(device.split(":")[0], torch.bfloat16, enabled=self.plan.half_precision):
            loss = self.model.loss(ids.to(device), learnt.to(device))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad()
        self.step += 1
        return loss.item()
