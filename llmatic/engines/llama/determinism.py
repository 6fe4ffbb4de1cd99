"""Whether a model computes the same bits whatever else is in the batch.

With plain attention and a part of the cache for each sequence, results depend on the batch only through the
kernels that multiply matrices, which may differ for one row and for several. That is found out by trying.
Runs in the engine's thread while the model is loaded; leaves the cache empty.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from llmatic.core.errors import ConfigError
from llmatic.engines.llama.backend import Backend, DecodeResult
from llmatic.engines.llama.limits import N_WHOLE

_N_PROMPT = 3 * N_WHOLE
_CUTS = ((N_WHOLE,), (N_WHOLE, 2 * N_WHOLE), (N_WHOLE + 5,))
_COMPANY = (2, 3, 4, 5, 8)


def computes_alone(backend: Backend) -> bool:
    """Whether sequences must be computed one at a time for their results to repeat bit by bit.

    Raises ConfigError if even the way in which a prompt is cut changes the results.
    """
    n_prompt = min(_N_PROMPT, backend.n_context_each - 2, backend.n_batch)
    prompt = [1 + i % 50 for i in range(n_prompt)]
    alone = _next(backend, prompt, ())
    for cuts in _CUTS:
        if cuts[-1] < n_prompt and not np.array_equal(_next(backend, prompt, cuts), alone):
            raise ConfigError(
                f"'{backend.model.path}' cannot be served deterministically on this machine: the results "
                "depend on how prompts are cut"
            )
    sizes = [n for n in _COMPANY if n <= backend.n_sequences]
    try:
        return any(not np.array_equal(_together(backend, n_prompt, n), alone) for n in sizes)
    finally:
        backend.clear()


def _next(backend: Backend, prompt: list[int], cuts: tuple[int, ...]) -> NDArray[np.float32]:
    """The logits of one token after the prompt, which is cut so. Leaves the prompt in slot 0."""
    backend.clear()
    for start, end in pairwise((0, *cuts, len(prompt))):
        _decode(backend, prompt[start:end], list(range(start, end)), [0] * (end - start), [])
    return _together(backend, len(prompt), 1)


def _together(backend: Backend, n_prompt: int, n_slots: int) -> NDArray[np.float32]:
    """The same token, computed together with others that have the same prompt."""
    for slot in range(1, n_slots):
        backend.free(slot)
        backend.fork(0, slot, n_prompt)
    slots = list(range(n_slots))
    _decode(backend, [2] * n_slots, [n_prompt] * n_slots, slots, slots)
    for slot in slots:
        backend.trim(slot, n_prompt)
    logits: NDArray[np.float32] = backend.logits(0).copy()
    return logits


def _decode(
    backend: Backend, tokens: list[int], positions: list[int], slots: list[int], outputs: list[int]
) -> None:
    if backend.decode(tokens, positions, slots, outputs) is not DecodeResult.DONE:
        raise ConfigError(f"'{backend.model.path}' could not be tried out")
