"""Benchmarks and hardships: docs/benchmarks.md is made with `python -m scripts.bench COMMAND`."""
