"""The engine against mtmd's own loop: the same rows, positions and masks give the same continuation."""

import ctypes
from typing import Any

import llama_cpp as C
import numpy as np
import pytest
from llama_cpp import mtmd_cpp as M
from numpy.typing import NDArray

from llmatic.core.types import ChatPrompt, GenerationRequest, SamplingParams
from llmatic.engines.llama.log import share_log, silence
from tests.engines.llama.asking import ask_for, opened
from tests.engines.llama.media.conftest import Seeing
from tests.engines.llama.small_vision import picture, pixels

pytestmark = pytest.mark.anyio
BEFORE, AFTER, N_TOKENS, CLOSE = "what is this? ", " tell me", 24, 0.02


@pytest.mark.parametrize("size", [(40, 30), (90, 140)])
@pytest.mark.parametrize("kind", ["mlp", "gemma3", "qwen2vl_merger"])
async def test_the_continuation_is_that_of_mtmd(
    kind: str, size: tuple[int, int], seeing: dict[str, Seeing]
) -> None:
    model = seeing[kind]
    parts = [{"type": "text", "text": BEFORE}, {"type": "media", "index": 0}, {"type": "text", "text": AFTER}]
    prompt = ChatPrompt(
        ({"role": "user", "content": parts},), media=(picture(1, width=size[0], height=size[1]),)
    )
    sampling = SamplingParams(temperature=0, n_logprobs=2)
    request = GenerationRequest("one", prompt, sampling, max_tokens=N_TOKENS, ignore_eos=True)
    async with opened(
        model.path, projector=str(model.projector), context=1024, options={"batch": 64}
    ) as engine:
        answer = await ask_for(engine, request)
        vocabulary = engine._loaded.backend.model.vocabulary
    banned = [*vocabulary.eog, *vocabulary.hidden]
    wanted = reference(model, pixels(1, *size), N_TOKENS, banned)
    found = [entry for delta in answer.deltas for entry in delta.logprobs]
    n_alike = 0
    for entry, token in zip(found, wanted, strict=True):
        if entry.token_id != token:
            assert entry.top[0].logprob - entry.top[1].logprob < CLOSE
            break
        n_alike += 1
    assert n_alike >= 8


def reference(model: Seeing, image: NDArray[np.uint8], n_tokens: int, banned: list[int]) -> list[int]:
    """What mtmd's helper and a loop of single greedy tokens make of the same prompt."""
    silence()
    share_log(M.mtmd_helper_log_set)
    weights = C.llama_model_load_from_file(str(model.path).encode(), C.llama_model_default_params())
    params = C.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch, params.n_threads = 1024, 512, 512, 1
    params.flash_attn_type = C.LLAMA_FLASH_ATTN_TYPE_ENABLED
    context = C.llama_init_from_model(weights, params)
    options = M.mtmd_context_params_default()
    options.use_gpu, options.n_threads, options.print_timings = False, 1, False
    media = M.mtmd_init_from_file(str(model.projector).encode(), weights, options)
    try:
        n_past = _evaluate(context, media, image)
        return _continue(context, weights, n_past, n_tokens, banned)
    finally:
        M.mtmd_free(media)
        C.llama_free(context)
        C.llama_model_free(weights)


def _evaluate(context: Any, media: Any, image: NDArray[np.uint8]) -> int:
    height, width, _ = image.shape
    image = np.ascontiguousarray(image)
    bitmap = M.mtmd_bitmap_init(width, height, image.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8)))
    words = f"<|im_start|>user\n{BEFORE}<__media__>{AFTER}<|im_end|>\n<|im_start|>assistant\n".encode()
    text = M.mtmd_input_text()
    text.text, text.text_len, text.add_special, text.parse_special = words, len(words), False, True
    chunks = M.mtmd_input_chunks_init()
    bitmaps = (M.mtmd_bitmap_p_ctypes * 1)(bitmap)
    assert M.mtmd_tokenize(media, chunks, ctypes.byref(text), bitmaps, 1) == 0
    n_past = C.llama_pos(0)
    assert M.mtmd_helper_eval_chunks(media, context, chunks, 0, 0, 512, True, ctypes.byref(n_past)) == 0
    M.mtmd_bitmap_free(bitmap)
    M.mtmd_input_chunks_free(chunks)
    return int(n_past.value)


def _continue(context: Any, weights: Any, n_past: int, n_tokens: int, banned: list[int]) -> list[int]:
    n_vocab = C.llama_vocab_n_tokens(C.llama_model_get_vocab(weights))
    tokens: list[int] = []
    batch = C.llama_batch_init(1, 0, 1)
    for _ in range(n_tokens):
        logits = np.ctypeslib.as_array(C.llama_get_logits_ith(context, -1), (n_vocab,)).copy()
        logits[banned] = -np.inf
        tokens.append(int(logits.argmax()))
        batch.n_tokens, batch.token[0], batch.pos[0], batch.logits[0] = 1, tokens[-1], n_past, 1
        batch.n_seq_id[0], batch.seq_id[0][0] = 1, 0
        assert C.llama_decode(context, batch) == 0
        n_past += 1
    C.llama_batch_free(batch)
    return tokens
