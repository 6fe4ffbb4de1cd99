#!/usr/bin/env python3
"""Makes llmatic-tiny, the model that llmatic carries: vocabulary, training, GGUF, evaluation table.

    pip install -r scripts/tiny/requirements.txt
    python scripts/train_tiny.py --stage 1 --out first.gguf
    python scripts/train_tiny.py --stage 2 --from first.gguf --out second.gguf
    python scripts/train_tiny.py --stage 3 --from second.gguf

The defaults are what the shipped file was made with. A run that was stopped goes on at its last checkpoint.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import sys
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # a busy machine: a waiting thread must not burn its core

import torch
from tiny import evaluate, report, vocabulary
from tiny.export import export
from tiny.restore import Exported
from tiny.training import Training, plan_of

_ROOT = Path(__file__).resolve().parents[1]
# What the shipped file was made with.
STAGES = (
    report.Stage("new weights", 1570, 1, 43 * 60, "cpu", "all tasks, functions as a small part"),
    report.Stage("the first stage's file", 1450, 2, 38 * 60, "cpu", "functions mostly, all other tasks kept"),
    report.Stage("the second stage's file", 1250, 3, 25 * 60, "cpu", "as in the second, at falling rates"),
)


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stage", type=int, choices=(1, 2, 3), default=1)
    parser.add_argument("--from", dest="start", type=Path, help="the GGUF that a later stage begins with")
    parser.add_argument("--steps", type=int, help="optimizer steps (default: the shipped file's)")
    parser.add_argument(
        "--seed", type=int, help="of the data and, in the first stage, of vocabulary and weights"
    )
    parser.add_argument(
        "--out", type=Path, default=_ROOT / "models" / "llmatic-tiny.gguf", help="the GGUF to write"
    )
    parser.add_argument(
        "--report", type=Path, default=_ROOT / "docs" / "tiny-model.md", help="the table to write"
    )
    parser.add_argument("--cache", type=Path, default=_ROOT / ".cache" / "llmatic-tiny", help="checkpoints")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--eval-only", action="store_true", help="evaluate the last checkpoint, train nothing"
    )
    parser.add_argument(
        "--export-only", action="store_true", help="write the GGUF of the last checkpoint, no more"
    )
    parser.add_argument("--eval-examples", type=int, default=60, help="held-out examples for each task")
    return parser.parse_args()


def stages(training: Training) -> tuple[report.Stage, ...]:
    """The trainings that the model has behind it: the earlier ones as for the shipped file, and this one."""
    plan = training.plan
    this = replace(
        STAGES[plan.stage - 1],
        steps=training.step,
        seed=plan.seed,
        seconds=training.seconds,
        device=plan.device,
    )
    return (*STAGES[: plan.stage - 1], this)


def keep_memory() -> None:
    """Has glibc keep what was freed: pages taken anew for every large tensor cost half of a step's time."""
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # malloc.h
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for option, n_bytes in ((mmap_threshold, 1 << 25), (trim_threshold, -1), (top_pad, 1 << 28)):
            mallopt(option, n_bytes)


def begin(args: argparse.Namespace) -> Training:
    """The training of the stage that was asked for, before its first step or after its last checkpoint."""
    known = STAGES[args.stage - 1]
    seed = known.seed if args.seed is None else args.seed
    plan = plan_of(args.stage, args.steps or known.steps, seed, args.device)
    if args.stage == 1:
        folder: Path = args.cache / f"seed-{seed}"
        return Training(plan, vocabulary.load_or_train(folder / "tokenizer.json", seed), folder)
    if args.start is None:
        raise SystemExit(f"stage {args.stage} needs --from FILE.gguf, which stage {args.stage - 1} has made")
    start = Exported(args.start)
    folder = args.cache / f"stage-{args.stage}-seed-{seed}"
    return Training(plan, start.tokenizer(), folder, start.model())


def main() -> None:
    """Trains (or resumes), exports, evaluates, reports."""
    args = parse_args()
    keep_memory()
    torch.set_num_threads(args.threads)
    training = begin(args)
    tokenizer = training.tokenizer
    print(f"{training.model.n_params():,} parameters, {tokenizer.get_vocab_size()} tokens, {args.device}")
    if training.resume():
        print(f"resumed at step {training.step}")
    if not (args.eval_only or args.export_only):
        training.run()
    size = export(training.model, tokenizer, args.out)
    print(f"{args.out}: {size:,} bytes")
    if args.export_only:
        return
    model = training.model.to("cpu").eval()
    scores = evaluate.evaluate(evaluate.generator(args.out, model, tokenizer), args.eval_examples)
    made = report.Made(model.n_params(), size, stages(training))
    report.write(args.report, made, scores, report.samples(evaluate.generator(args.out, model, tokenizer)))
    print(report.table(scores))


if __name__ == "__main__":
    main()
