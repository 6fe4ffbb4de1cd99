"""Moderation by a classifier: each of its labels is as likely as it says.

Owns what the labels count for. Never renders anything. Event loop's thread.
"""

from collections.abc import Mapping, Sequence
from itertools import count

from llmatic.config import ModelSpec, ModerationSpec
from llmatic.config.keys import nearest_name
from llmatic.core.encoding import EncodeRequest
from llmatic.core.errors import Unavailable
from llmatic.core.types import EncoderInfo, Usage
from llmatic.services.encoding import OpenEncoding, encode_rows
from llmatic.services.long_texts import Scores
from llmatic.services.terms import Caller, priority_of

Columns = Mapping[str, tuple[int, ...]]  # category → the columns that count for it


class ClassifierModeration:
    """Judges texts for one call. `usages` grows with every request that was made."""

    def __init__(
        self, open_stream: OpenEncoding, spec: ModelSpec, encoder: EncoderInfo, caller: Caller, call_id: str
    ) -> None:
        """Raises Unavailable if the configuration names labels that the model does not have."""
        assert spec.moderation is not None
        self._open_stream = open_stream
        self._columns = columns(spec.moderation, encoder.labels, spec.id)
        self._caller = caller
        self._call_id = call_id
        self._numbers = count()
        self.usages: list[Usage] = []

    async def judge(self, texts: Sequence[str]) -> list[Scores]:
        """The scores of each text, those of categories with labels. Raises ContextLengthExceeded."""
        request = EncodeRequest(
            id=f"{self._call_id}-{next(self._numbers)}",
            task="classify",
            texts=tuple(texts),
            too_long="refuse",
            client=self._caller.client,
            priority=priority_of(self._caller, {}),
        )
        rows = await encode_rows(self._open_stream, request, self.usages.append)
        return [
            {
                category: max(_probability(row[column]) for column in wanted)
                for category, wanted in self._columns.items()
            }
            for row in rows.values()
        ]


def columns(moderation: ModerationSpec, labels: Sequence[str], model_id: str) -> Columns:
    """Which columns count for which category. Raises Unavailable for a label that the model does not have."""
    key = f"models.{model_id}.moderation"
    if moderation.prompts:
        raise Unavailable(f"{key}: 'prompts' is for models that write; this one needs 'categories'.")
    places = {label: place for place, label in enumerate(labels)}
    found: dict[str, tuple[int, ...]] = {}
    for label, categories in moderation.categories.items():
        if label not in places:
            meant = nearest_name(label, labels)
            hint = "its" if meant is None else f"did you mean '{meant}'? Its"
            raise Unavailable(
                f"{key}.categories: the model has no label '{label}'; {hint} labels are: {', '.join(labels)}."
            )
        for category in categories:
            found[category] = (*found.get(category, ()), places[label])
    return found


def _probability(value: float) -> float:
    return min(1.0, max(0.0, value))
