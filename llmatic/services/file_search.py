"""Texts to search from a caller's own file.

Owns which files may be searched. Event loop's thread; files are read and looked through in another.
"""

from collections.abc import Callable, Iterator

from llmatic.core.errors import InvalidRequest, NotFound
from llmatic.services.files import Files
from llmatic.services.searched_file import MAX_FILE_BYTES, Chosen, Document, choose
from llmatic.store.files import FileRecord


async def searched(
    files: Files,
    owner: str,
    file_id: str,
    purpose: str,
    query: str,
    count: int,
    wants: Callable[[Document], bool] = lambda _: True,
) -> tuple[FileRecord, Chosen]:
    """The file, and at most `count` of its wanted documents, the nearest to the query by its words.

    Raises NotFound; InvalidRequest for a file of another purpose or too large a one; Unavailable.
    """
    try:
        record = await files.get(owner, file_id)
    except NotFound as error:
        error.param = "file"
        raise
    if record.purpose != purpose:
        raise InvalidRequest(
            f"File {file_id} was uploaded with the purpose '{record.purpose}'; '{purpose}' is needed here.",
            param="file",
        )
    if record.size_bytes > MAX_FILE_BYTES:
        raise InvalidRequest(
            f"File {file_id} has {record.size_bytes} bytes; at most {MAX_FILE_BYTES} can be searched.",
            param="file",
        )

    def chunks() -> Iterator[bytes]:
        reader = files.content(record)
        try:
            yield from reader
        finally:
            reader.close()

    return record, await files.run(lambda: choose(chunks, query, count, wants))
