"""Blobs in a bucket of S3 or of anything that speaks its protocol.

Owns the client. A blob is uploaded in parts and becomes visible when the upload is completed; a small one is
put at once. Credentials and region come from where boto3 looks for them (environment, files, instance);
another server than Amazon's is named by AWS_ENDPOINT_URL. Blocks; any thread, each writer in one at a time.
(https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html)
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from llmatic.core.errors import ConfigError, LlmaticError, Unavailable
from llmatic.store.blobs import CHUNK_BYTES, Piece

PART_BYTES = 8 * 1024 * 1024  # S3 takes at least 5 MiB for all but the last
CONNECT_TIMEOUT_S = 4
READ_TIMEOUT_S = 15  # of silence
N_TRIES = 3
N_CONNECTIONS = 32

_ABSENT = frozenset(["NoSuchKey", "NoSuchUpload", "404"])
_WRONG = {
    "403": "these credentials do not open it; they need s3:ListBucket, s3:GetObject, s3:PutObject, "
    "s3:DeleteObject and s3:AbortMultipartUpload",
    "404": "there is no such bucket",
    "400": "these credentials or the region are not taken (AWS_REGION, AWS_ACCESS_KEY_ID, …)",
}


class S3Blobs:
    """A `Blobs` under `prefix` in `bucket`. Raises ConfigError without boto3."""

    def __init__(self, bucket: str, prefix: str = "") -> None:
        try:
            import boto3
            from botocore.config import Config
        except ImportError:
            raise ConfigError("A store in S3 needs boto3: pip install 'llmatic[s3]'") from None
        config = Config(
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
            max_pool_connections=N_CONNECTIONS,
            retries={"total_max_attempts": N_TRIES, "mode": "standard"},
        )
        with translating():
            self._client: Any = boto3.Session().client("s3", config=config)
        self._bucket = bucket
        self._under_way: set[str] = set()
        self._prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""

    def require_bucket(self) -> None:
        """Raises ConfigError for what waiting does not cure; Unavailable if the bucket is out of reach."""
        from botocore.exceptions import ClientError, NoCredentialsError

        place = f"store.blobs: s3://{self._bucket}"
        try:
            with translating():
                self._client.head_bucket(Bucket=self._bucket)
        except LlmaticError as error:
            cause = error.__cause__
            if isinstance(cause, NoCredentialsError):
                raise ConfigError(f"{place}: there are no credentials (AWS_ACCESS_KEY_ID, …).") from error
            if isinstance(cause, ClientError):
                code = cause.response.get("Error", {}).get("Code", "")
                if code in _WRONG:
                    raise ConfigError(f"{place} cannot be used: {_WRONG[code]}.") from error
            raise

    def create(self, key: str) -> "S3Writer":
        """As `Blobs.create`."""
        place = {"Bucket": self._bucket, "Key": self._prefix + key}
        return S3Writer(self._client, place, self._under_way)

    def read(self, key: str, start: int = 0, end: int | None = None) -> "S3Reader":
        """As `Blobs.read`."""
        place = {"Bucket": self._bucket, "Key": self._prefix + key}
        with translating(key):
            if end is not None and end <= start:  # an empty range cannot be asked for
                self._client.head_object(**place)
                return S3Reader(None)
            last = "" if end is None else end - 1
            span = {"Range": f"bytes={start}-{last}"} if start > 0 or end is not None else {}
            return S3Reader(self._client.get_object(**place, **span)["Body"])

    def delete(self, key: str) -> None:
        """As `Blobs.delete`."""
        with translating():
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key)

    def older_than(self, age_s: float) -> Iterator[str]:
        """As `Blobs.older_than`."""
        latest = datetime.now(UTC) - timedelta(seconds=age_s)
        for found in self._listed("list_objects_v2", "Contents"):
            name = found["Key"].removeprefix(self._prefix)
            if found["LastModified"] <= latest and "/" not in name:
                yield name

    def tidy(self, age_s: float) -> None:
        """As `Blobs.tidy`."""
        latest = datetime.now(UTC) - timedelta(seconds=age_s)
        for found in self._listed("list_multipart_uploads", "Uploads"):
            if found["Initiated"] <= latest and found["UploadId"] not in self._under_way:
                with translating(found["Key"]), suppress(KeyError):
                    self._client.abort_multipart_upload(
                        Bucket=self._bucket, Key=found["Key"], UploadId=found["UploadId"]
                    )

    def _listed(self, operation: str, name: str) -> Iterator[Any]:
        """Everything under the prefix, page by page."""
        with translating():
            pages = self._client.get_paginator(operation).paginate(Bucket=self._bucket, Prefix=self._prefix)
            for page in pages:
                yield from page.get(name, ())


class S3Writer:
    """A `BlobWriter` that holds one part in memory. `under_way`: the ids of the unfinished uploads."""

    def __init__(self, client: Any, place: dict[str, str], under_way: set[str]) -> None:
        self._client = client
        self._place = place
        self._under_way = under_way
        self._pieces: list[Piece] = []
        self._n_held = 0
        self._upload: str | None = None
        self._parts: list[dict[str, Any]] = []
        self._is_open = True
        self.size_bytes = 0

    def write(self, *pieces: Piece) -> None:
        """As `BlobWriter.write`. Parts are at least PART_BYTES, so large data go out as they are."""
        assert self._is_open, "nothing is written to what was given up"
        n_bytes = sum(map(len, pieces))
        self.size_bytes += n_bytes
        self._pieces.extend(pieces)
        self._n_held += n_bytes
        if self._n_held >= PART_BYTES:
            self._send_part()

    def commit(self) -> None:
        """As `BlobWriter.commit`."""
        try:
            self._complete()
        except BaseException:
            self.discard()
            raise
        self._end()

    def discard(self) -> None:
        """As `BlobWriter.discard`. Parts that cannot be taken back now are found by `S3Blobs.tidy`."""
        if not self._is_open:
            return
        self._end()
        if self._upload is not None:
            with suppress(LlmaticError), translating():
                self._client.abort_multipart_upload(**self._place, UploadId=self._upload)

    def _end(self) -> None:
        self._is_open = False
        self._pieces.clear()
        if self._upload is not None:
            self._under_way.discard(self._upload)

    def _complete(self) -> None:
        if self._upload is None:
            with translating():
                self._client.put_object(**self._place, Body=self._taken())
            return
        if self._pieces:
            self._send_part()
        with translating():
            self._client.complete_multipart_upload(
                **self._place, UploadId=self._upload, MultipartUpload={"Parts": self._parts}
            )

    def _send_part(self) -> None:
        number = len(self._parts) + 1
        with translating():
            if self._upload is None:
                self._upload = str(self._client.create_multipart_upload(**self._place)["UploadId"])
                self._under_way.add(self._upload)
            sent = self._client.upload_part(
                **self._place, UploadId=self._upload, PartNumber=number, Body=self._taken()
            )
        self._parts.append({"ETag": sent["ETag"], "PartNumber": number})

    def _taken(self) -> bytes:
        """What is held, which is held no more."""
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._n_held = 0
        return data


class S3Reader:
    """A `BlobReader` of a reply's body; None: of nothing."""

    def __init__(self, body: Any) -> None:
        self._body = body
        self._chunks: Iterator[bytes] = iter(()) if body is None else body.iter_chunks(CHUNK_BYTES)

    def __iter__(self) -> "S3Reader":
        return self

    def __next__(self) -> bytes:
        with translating():
            data = next(self._chunks, None)
        if data is None:
            self.close()
            raise StopIteration
        return data

    def close(self) -> None:
        """As `BlobReader.close`."""
        self._chunks = iter(())
        if self._body is not None:
            self._body.close()


@contextmanager
def translating(key: str | None = None) -> Iterator[None]:
    """Raises KeyError where `key` is not in the bucket, Unavailable for all else that boto3 raises."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if key is not None and code in _ABSENT:
            raise KeyError(key) from None
        raise Unavailable(f"The server's storage refused: {code}.", retry_after_s=1.0) from error
    except BotoCoreError as error:
        raise Unavailable(
            f"The server's storage cannot be reached ({type(error).__name__}). Please try again.",
            retry_after_s=1.0,
        ) from error
