"""What /answers and /classifications have in common: search first, then complete.

Owns their fields about the search and the completion: which model searches, what of the completion the reply
holds, how what was found is shown. Event loop's thread.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from llmatic.api.completion_render import CompletionReply
from llmatic.api.context import ApiContext
from llmatic.api.generate import now
from llmatic.api.ids import object_id
from llmatic.api.replies import Answer, model_answer
from llmatic.config import ModelSpec
from llmatic.core.errors import InvalidRequest
from llmatic.core.types import EngineInfo
from llmatic.services.file_search import searched
from llmatic.services.fitting import Fitted
from llmatic.services.ranking import (
    DEFAULT_SEARCH_MODEL,
    Ranking,
    rank_documents,
    search_model,
    search_score,
)
from llmatic.services.searched_file import Document
from llmatic.services.terms import Caller, priority, service_tier
from llmatic.store.files import FileRecord, file_object

# Of /answers' `max_rerank` and of /classifications' `max_examples`.
DEFAULT_MAX_FOUND = 200

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Texts:
    """The texts to search, of the request or of a file, and what is known of each.

    `numbers`: their places in the list or among the file's lines. `labels`: of each, as it is written;
    `all_labels`: also those of the file's other lines.
    """

    texts: list[str]
    numbers: Sequence[int]
    labels: list[str] = field(default_factory=list)
    metadata: list[Any] = field(default_factory=list)
    all_labels: list[str] = field(default_factory=list)
    file: FileRecord | None = None

    def only(self, kept: Sequence[int]) -> "Texts":
        """Those at the given places."""
        return replace(
            self,
            texts=[self.texts[place] for place in kept],
            numbers=[self.numbers[place] for place in kept],
            labels=[self.labels[place] for place in kept],
            metadata=[self.metadata[place] for place in kept] if self.metadata else [],
        )

    def entry(self, body: Body, index: int, found: "Found", **more: Any) -> dict[str, Any]:
        """One of the found texts, as replies show it, and `more` that they show of it."""
        shown = {
            "document": self.numbers[index],
            "object": "search_result",
            "score": search_score(found.ranking.scores[index]),
            "text": self.texts[index],
            **more,
        }
        if self.file is not None and body.get("return_metadata"):
            shown["metadata"] = self.metadata[index]
        return shown

    def file_part(self, body: Body) -> dict[str, Any]:
        """What the reply tells of the file, if there is one."""
        if self.file is None:
            return {}
        return {"file": file_object(self.file) if "file" in body.get("expand", ()) else self.file.id}


@dataclass(frozen=True, slots=True)
class Found:
    """What a search gave. `model`: the id of the model that searched."""

    model: str
    ranking: Ranking


def from_file(body: Body, name: str) -> bool:
    """Whether a file has the texts, instead of the field `name`. Raises InvalidRequest unless it is one of
    both.
    """
    if "file" in body:
        if name in body:
            raise InvalidRequest(f"Only one of '{name}' and 'file' can be given.", param="file")
        return True
    if name not in body:
        raise InvalidRequest(
            f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter"
        )
    return False


async def texts_of_file(
    context: ApiContext,
    body: Body,
    caller: Caller,
    *,
    purpose: str,
    query: str,
    count: int,
    wants: Callable[[Document], bool] = lambda _: True,
) -> Texts:
    """At most `count` texts of the field `file`. Raises NotFound, InvalidRequest, Unavailable."""
    record, chosen = await searched(
        context.stored.files, caller.principal.owner, body["file"], purpose, query, count, wants
    )
    documents = chosen.documents
    return Texts(
        [document.text for document in documents],
        [document.number for document in documents],
        [document.label or "" for document in documents],
        [document.metadata for document in documents],
        chosen.labels,
        record,
    )


async def search(
    context: ApiContext, body: Body, caller: Caller, texts: Sequence[str], *, query_param: str, param: str
) -> Found:
    """Rank texts, which the field `param` holds, by the field `query_param`.

    Texts too long for the search model are judged by their beginnings. Where there is no text, no model is
    needed, but a name that is given must be one. Raises ModelNotFound, InvalidRequest, Forbidden, and what
    the engine raises.
    """
    name: str = body.get("search_model", DEFAULT_SEARCH_MODEL)
    if not texts:
        is_any = name == DEFAULT_SEARCH_MODEL and not context.registry.knows(name)
        return Found(name if is_any else context.registry.resolve(name).id, Ranking((), 0))
    spec = await search_model(context.registry, context.pool, context.capabilities, name)
    ranking = await rank_documents(
        context.pool,
        spec,
        body[query_param],
        texts,
        caller,
        request_id=object_id("search"),
        query_param=query_param,
        param=param,
        too_long="truncate",
        priority=priority(body),
    )
    return Found(spec.id, ranking)


def search_reply(
    body: Body,
    spec: ModelSpec,
    info: EngineInfo,
    completion_id: str,
    fitted: Fitted,
    parts: dict[str, Any],
) -> Answer:
    """The reply with `parts`, the completion or its id, and the prompt if it is wanted."""
    usage = fitted.usage
    completion: Any = completion_id
    if "completion" in body.get("expand", ()) or "logprobs" in body:
        reply = CompletionReply(
            id=completion_id,
            created=now(),
            model=spec.id,
            fingerprint=info.fingerprint,
            with_logprobs="logprobs" in body,
            n_choices=len(fitted.choices),
            offsets=(len(fitted.prompt),),
            prefixes=("",),
            tier=service_tier(body) if "service_tier" in body else None,
        )
        completion = orjson.Fragment(reply.whole(fitted.choices, usage))
    whole = {**parts, "model": spec.id, "completion": completion}
    if body.get("return_prompt"):
        whole["prompt"] = fitted.prompt
    return model_answer(orjson.dumps(whole), spec.id)
