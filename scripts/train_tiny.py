#!/usr/bin/env python3
"""Makes llmatic-tiny, the model that llmatic carries: vocabulary, training, GGUF, evaluation table.

    pip install -r scripts/tiny/requirements.txt
    python scripts/train_tiny.py

The defaults are what the shipped file was made with. A run that was stopped goes on at its last checkpoint.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # a busy machine: a waiting thread must not burn its core

import torch
from tiny import evaluate, report, vocabulary
from tiny.export import export
from tiny.training import Plan, Training

_ROOT = Path(__file__).resolve().parents[1]
STEPS = 1570
SEED = 1


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=STEPS, help="optimizer steps (default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=SEED, help="of the data, the vocabulary and the first weights"
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


def main() -> None:
    """Trains (or resumes), exports, evaluates, reports."""
    args = parse_args()
    torch.set_num_threads(args.threads)
    folder: Path = args.cache / f"seed-{args.seed}"
    tokenizer = vocabulary.load_or_train(folder / "tokenizer.json", args.seed)
    training = Training(Plan(args.steps, args.seed, args.device), tokenizer, folder)
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
    made = report.Made(model.n_params(), size, training.step, args.seed, training.seconds, args.device)
    report.write(args.report, made, scores, report.samples(evaluate.generator(args.out, model, tokenizer)))
    print(report.table(scores))


if __name__ == "__main__":
    main()
