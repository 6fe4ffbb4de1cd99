"""The paths of /files and /uploads, all of the scope `files`. Read once, at the start."""

from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from llmatic.api.context import ApiContext
from llmatic.api.endpoint import JsonEndpoint, Serve
from llmatic.api.file_content import FileContent
from llmatic.api.files import (
    open_file,
    serve_create_file,
    serve_delete_file,
    serve_list_files,
    serve_retrieve_file,
)
from llmatic.api.form_endpoint import FormEndpoint
from llmatic.api.query import QueryEndpoint, ServeQuery
from llmatic.api.resource import route
from llmatic.api.uploads import (
    open_part,
    serve_add_part,
    serve_cancel_upload,
    serve_complete_upload,
    serve_create_upload,
)
from llmatic.services.files import FileIntake
from llmatic.services.uploads import PartIntake


def file_routes(context: ApiContext, prefix: str) -> list[BaseRoute]:
    """Every path, below the prefix."""

    def query(operation_id: str, serve: ServeQuery) -> ASGIApp:
        return QueryEndpoint(context, operation_id, serve)

    def json(operation_id: str, serve: Serve) -> ASGIApp:
        return JsonEndpoint(context, operation_id, serve, is_metered=False)

    endpoints: dict[str, dict[str, ASGIApp]] = {
        "/files": {
            "GET": query("listFiles", serve_list_files),
            "POST": FormEndpoint[FileIntake](context, "createFile", open_file, serve_create_file),
        },
        "/files/{file_id}/content": {"GET": FileContent(context)},
        "/files/{file_id}": {
            "GET": query("retrieveFile", serve_retrieve_file),
            "DELETE": query("deleteFile", serve_delete_file),
        },
        "/uploads": {"POST": json("createUpload", serve_create_upload)},
        "/uploads/{upload_id}/parts": {
            "POST": FormEndpoint[PartIntake](context, "addUploadPart", open_part, serve_add_part)
        },
        "/uploads/{upload_id}/complete": {"POST": json("completeUpload", serve_complete_upload)},
        "/uploads/{upload_id}/cancel": {"POST": query("cancelUpload", serve_cancel_upload)},
    }
    return [route(prefix + path, "files", **methods) for path, methods in endpoints.items()]
