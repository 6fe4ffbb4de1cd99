"""The paths that ask a model for something at once, all of the scope `inference`. Read once, at the start."""

from collections.abc import Callable

from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from llmatic.api.answers import serve_answers
from llmatic.api.chat import parse_chat
from llmatic.api.classifications import serve_classifications
from llmatic.api.completions import parse_completion
from llmatic.api.context import ApiContext
from llmatic.api.edits import serve_edits
from llmatic.api.embeddings import serve_embeddings
from llmatic.api.endpoint import JsonEndpoint, Serve
from llmatic.api.generate import GenerateEndpoint, Parse
from llmatic.api.messages import ID_PREFIX, count_message_tokens, parse_message
from llmatic.api.moderations import serve_moderation
from llmatic.api.rerank import serve_rerank
from llmatic.api.resource import route
from llmatic.api.run_routes import stored_chats_list
from llmatic.api.search import serve_search


def inference_routes(context: ApiContext, prefix: str, *, owns_user: bool) -> list[BaseRoute]:
    """Those that name the model in the body."""
    generate, json = _makers(context, owns_user=owns_user)
    posts: dict[str, ASGIApp] = {
        "/completions": generate("createCompletion", "cmpl", parse_completion),
        "/messages": generate("createMessage", ID_PREFIX, parse_message),
        "/messages/count_tokens": JsonEndpoint(
            context, "countMessageTokens", count_message_tokens, is_metered=False
        ),
        "/embeddings": json("createEmbedding", serve_embeddings),
        "/moderations": json("createModeration", serve_moderation),
        "/rerank": json("createRerank", serve_rerank),
        "/edits": json("createEdit", serve_edits),
        "/answers": json("createAnswer", serve_answers),
        "/classifications": json("createClassification", serve_classifications),
    }
    return [
        route(
            f"{prefix}/chat/completions",
            "inference",
            GET=stored_chats_list(context),
            POST=generate("createChatCompletion", "chatcmpl", parse_chat),
        ),
        *(route(prefix + path, "inference", POST=endpoint) for path, endpoint in posts.items()),
    ]


def engine_routes(context: ApiContext, prefix: str, *, owns_user: bool) -> list[BaseRoute]:
    """Those that name the model in the path, as until 2022."""
    generate, json = _makers(context, owns_user=owns_user)
    posts: dict[str, ASGIApp] = {
        "chat/completions": generate("createEngineChatCompletion", "chatcmpl", parse_chat),
        "completions": generate("createEngineCompletion", "cmpl", parse_completion),
        "embeddings": json("createEngineEmbedding", serve_embeddings),
        "search": json("createSearch", serve_search),
        "edits": json("createEngineEdit", serve_edits),
    }
    return [
        route(f"{prefix}/engines/{{engine_id:path}}/{operation}", "inference", POST=endpoint)
        for operation, endpoint in posts.items()
    ]


def _makers(
    context: ApiContext, *, owns_user: bool
) -> tuple[Callable[[str, str, Parse], ASGIApp], Callable[[str, Serve], ASGIApp]]:
    def generate(operation_id: str, id_prefix: str, parse: Parse) -> ASGIApp:
        return GenerateEndpoint(context, operation_id, id_prefix, parse, owns_user=owns_user)

    def json(operation_id: str, serve: Serve) -> ASGIApp:
        return JsonEndpoint(context, operation_id, serve, owns_user=owns_user)

    return generate, json
