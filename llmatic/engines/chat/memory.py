"""What was made before and will be asked for again.

Owns the most recent results of a few dear pure functions, by key. One thread at a time.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

_T = TypeVar("_T")


class Memory:
    """Keeps `n_max` results, the least recently used go first."""

    def __init__(self, n_max: int = 128) -> None:
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()
        self._n_max = n_max

    def recall(self, key: Hashable, make: Callable[[], _T]) -> _T:
        """What `make` returned for `key` the last time, or now. What `make` raises is not kept."""
        if key in self._kept:
            self._kept.move_to_end(key)
        else:
            self._kept[key] = make()
            if len(self._kept) > self._n_max:
                self._kept.popitem(last=False)
        kept: _T = self._kept[key]
        return kept
