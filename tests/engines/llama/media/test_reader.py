"""What is kept of encoded media, and what is not encoded at all."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from llmatic.core.errors import ContextLengthExceeded, InvalidRequest
from llmatic.core.types import ChatPrompt, Media
from llmatic.engines.llama.media.projector import Projector
from llmatic.engines.llama.media.reader import Cancelled, MediaLimits, MediaReader, places
from llmatic.engines.llama.media.rows import Expansion, Rows, n_rows
from llmatic.engines.llama.model import Model
from llmatic.engines.llama.options import Options
from tests.engines.llama.media.conftest import Seeing
from tests.engines.llama.small_vision import N_ROWS, picture, sound

ROW_BYTES = 4 * 32
LIMITS = MediaLimits(n_rows=500, n_whole=512, max_pixels=10**6, max_audio_s=2.0, cache_bytes=1 << 20)


@pytest.fixture(scope="module")
def projector(seeing: dict[str, Seeing]) -> Iterator[Projector]:
    model = Model(seeing["both"].path, Options())
    found = Projector(seeing["both"].projector, model, n_threads=1, uses_gpu=False)
    yield found
    found.close()
    model.close()


def prompt_of(*media: Media) -> ChatPrompt:
    parts = [{"type": "media", "index": n} for n in range(len(media))]
    return ChatPrompt(({"role": "system", "content": "x"}, {"role": "user", "content": parts}), media=media)


def read(reader: MediaReader, *media: Media, salt: str = "") -> tuple[Expansion, ...]:
    return reader.read(prompt_of(*media), lambda: True, salt=salt)


def ids(expansion: Expansion) -> list[int]:
    return [token for piece in expansion for token in (piece.ids if isinstance(piece, Rows) else piece)]


def test_equal_media_are_encoded_once_even_in_one_request(projector: Projector) -> None:
    reader = MediaReader(projector, LIMITS)
    first, second, third = read(reader, picture(1), picture(2), picture(1))
    assert ids(first) == ids(third) != ids(second)
    assert (reader.n_encoded, reader.n_found) == (2, 0)
    (again,) = read(reader, picture(2))
    assert again is second
    assert (reader.n_encoded, reader.n_found) == (2, 1)
    assert reader.n_cached_bytes == 2 * N_ROWS * ROW_BYTES


def test_the_least_recently_used_go_first(projector: Projector) -> None:
    reader = MediaReader(projector, replace(LIMITS, cache_bytes=2 * N_ROWS * ROW_BYTES))
    for seed in (1, 2, 1, 3):
        read(reader, picture(seed))
    assert reader.n_cached_bytes == 2 * N_ROWS * ROW_BYTES
    assert reader.n_encoded == 3
    read(reader, picture(1))
    assert reader.n_encoded == 3
    read(reader, picture(2))
    assert reader.n_encoded == 4


def test_without_a_cache_everything_is_encoded(projector: Projector) -> None:
    reader = MediaReader(projector, replace(LIMITS, cache_bytes=0))
    assert ids(read(reader, picture(1))[0]) == ids(read(reader, picture(1))[0])
    assert (reader.n_encoded, reader.n_cached_bytes) == (2, 0)


def test_what_others_have_sent_is_not_found(projector: Projector) -> None:
    reader = MediaReader(projector, LIMITS)
    read(reader, picture(1), salt="ann")
    read(reader, picture(1), salt="bob")
    assert reader.n_encoded == 2


def test_low_detail_is_another_picture_and_high_is_not(projector: Projector) -> None:
    reader = MediaReader(projector, LIMITS)
    low, high, plain = (replace(picture(1), detail=detail) for detail in ("low", "high", "auto"))
    read(reader, low, high, plain)
    assert reader.n_encoded == 2


def test_nothing_is_encoded_for_nobody(projector: Projector) -> None:
    reader = MediaReader(projector, LIMITS)
    answers = iter([True, False])
    with pytest.raises(Cancelled):
        reader.read(prompt_of(picture(1), picture(2)), lambda: next(answers))
    assert reader.n_encoded == 1
    read(reader, picture(1), picture(2))
    assert (reader.n_encoded, reader.n_found) == (2, 1)


def test_what_cannot_fit_is_not_encoded(projector: Projector) -> None:
    reader = MediaReader(projector, replace(LIMITS, n_rows=3 * N_ROWS))
    assert sum(map(n_rows, read(reader, picture(1), picture(2)))) == 2 * N_ROWS
    with pytest.raises(ContextLengthExceeded) as caught:
        read(reader, picture(1), picture(2), picture(3))
    assert caught.value.param == "messages"
    assert reader.n_encoded == 2


def test_one_bad_part_spoils_the_request_before_anything_is_encoded(projector: Projector) -> None:
    reader = MediaReader(projector, LIMITS)
    with pytest.raises(InvalidRequest) as caught:
        read(reader, picture(1), sound(1), Media("audio", b"no"))
    assert caught.value.param == "messages.[1].content.[2].input_audio"
    with pytest.raises(InvalidRequest, match="at most 2 seconds"):
        read(reader, sound(1, 2.5))
    assert reader.n_encoded == 0


def test_without_a_projector_all_is_refused() -> None:
    reader = MediaReader(None, LIMITS)
    assert not reader.has_vision
    assert not reader.has_audio
    for media, field in ((picture(1), "image_url"), (sound(1), "input_audio")):
        with pytest.raises(InvalidRequest, match=f"{field} is only supported by certain models"):
            read(reader, media)
    assert read(reader) == ()
    reader.close()


def test_places_are_those_of_the_messages() -> None:
    prompt = prompt_of(picture(1), picture(2))
    assert places(prompt) == ["messages.[1].content.[0]", "messages.[1].content.[1]"]
    assert places(ChatPrompt((), media=(picture(1),))) == ["messages"]
