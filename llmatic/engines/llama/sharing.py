"""The rows of one step: who gets how many.

Owns the turns that kinds of rows take: pictures with tokens, and in an exact engine prompts with answers.
Pure.
"""

from collections.abc import Callable
from collections.abc import Sequence as Ordered

from llmatic.engines.llama.batching import Part, Room, share_prompts, share_rows, share_writing
from llmatic.engines.llama.limits import Limits
from llmatic.engines.llama.precedence import Beside, joining
from llmatic.engines.llama.sequences import Sequence

PromptRows = Callable[[int, int], int]
N_FRESH = 4


class Sharing:
    """Shares out the rows of one step after another."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._is_reading_turn = False
        self._is_seeing_turn = False
        self._n_alone = 0

    def share(
        self,
        sequences: Ordered[Sequence],
        n_used: int,
        prompt_rows: PromptRows,
        beside: Beside | None,
    ) -> list[Part]:
        """What each of `sequences`, which may have rows, gets; `n_used` cells are in use.

        For the others see `Scheduler.plan`.
        """
        limits = self._limits
        n_cells = limits.n_context - n_used if limits.is_pooled else limits.n_context
        room = Room(limits.n_batch, n_cells, limits.n_outputs, limits.n_scored, limits.n_whole)
        seeing = [s for s in sequences if s.awaits is None and s.span is not None]
        if seeing:
            self._is_seeing_turn = not self._is_seeing_turn
            if self._is_seeing_turn or len(seeing) == len(sequences):
                return self._share_rows(seeing, sequences, room, prompt_rows)
            sequences = [s for s in sequences if s not in seeing]
        if beside is not None and not limits.is_exact:
            found = joining(sequences, beside)
            if found is not None:
                sequences, n_prompt_rows = found
                parts = share_writing(sequences, room)
                room.n_rows = min(room.n_rows, n_prompt_rows)
                return parts + share_prompts(sequences, room)
        return self._share_tokens(sequences, room, prompt_rows)

    def _share_tokens(self, sequences: Ordered[Sequence], room: Room, prompt_rows: PromptRows) -> list[Part]:
        limits = self._limits
        parts = share_writing(sequences, room)
        n_delayed = 0 if all(part.sequence.n_written <= N_FRESH for part in parts) else len(parts)
        wanted = [s.n_left for s in sequences if s.n_left > 1]
        n_rows = prompt_rows(n_delayed, sum(wanted) if len(wanted) > 1 else 0)
        if not limits.is_exact:
            room.n_rows = min(room.n_rows, max(1, n_rows))
            return parts + share_prompts(sequences, room)
        room.n_rows = min(limits.n_batch, max(2 * limits.n_whole - 1, n_rows))
        self._is_reading_turn = not self._is_reading_turn
        if limits.is_alone and parts:
            self._n_alone += 1
            parts = [parts[self._n_alone % len(parts)]]
        if parts and not self._is_reading_turn:
            return parts
        return share_prompts(sequences, room)[:1] or parts  # one prompt by itself, or all that write

    def _share_rows(
        self, seeing: list[Sequence], sequences: Ordered[Sequence], room: Room, prompt_rows: PromptRows
    ) -> list[Part]:
        """Pictures and sounds, which take turns with all that is made of tokens."""
        n_delayed = sum(s.is_writing and s.n_written > N_FRESH for s in sequences)
        n_rows = prompt_rows(n_delayed, sum(s.n_left for s in seeing) if len(seeing) > 1 else 0)
        room.n_rows = min(room.n_rows, max(2 * self._limits.n_whole - 1, n_rows))
        return share_rows(seeing[:1] if self._limits.is_exact else seeing, room)
