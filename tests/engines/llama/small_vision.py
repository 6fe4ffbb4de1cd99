"""Projectors of a few kilobytes with random weights, that make the small model see or hear.

`mlp` is LLaVA's: a picture of any size is 16 rows, computed causally. `gemma3` gives 16 rows that attend to
each other, `qwen2vl_merger` rows in a grid, as many as the picture's size asks for. `ultravox` hears: every 30 s
are 75 rows.
"""

from io import BytesIO
from pathlib import Path

import numpy as np
from gguf import GGUFWriter
from numpy.typing import NDArray
from PIL import Image

from llmatic.core.types import Media

N_ROWS = 16
N_SOUND_ROWS = 75
_WIDTH, _FF, _HEADS, _PATCH, _SIDE, _MELS, _STACK = 16, 32, 2, 8, 32, 80, 20


class _Weights:
    def __init__(self, writer: GGUFWriter) -> None:
        self._writer = writer
        self._random = np.random.default_rng(11)

    def matrix(self, name: str, *shape: int, scale: float = 0.3) -> None:
        self._writer.add_tensor(name, (self._random.standard_normal(shape) * scale).astype(np.float32))

    def half(self, name: str, *shape: int) -> None:
        self._writer.add_tensor(name, (self._random.standard_normal(shape) * 0.3).astype(np.float16))

    def ones(self, name: str, n: int) -> None:
        self._writer.add_tensor(name, np.ones(n, np.float32))

    def zeros(self, name: str, n: int) -> None:
        self._writer.add_tensor(name, np.zeros(n, np.float32))

    def norm(self, name: str) -> None:
        self.ones(f"{name}.weight", _WIDTH)
        self.zeros(f"{name}.bias", _WIDTH)


def write_projector(
    path: Path, *, vision: str | None = "mlp", audio: str | None = None, n_embd: int = 32, scale: float = 1.0
) -> Path:
    """A projector into a model of embedding length `n_embd`; `audio`: ultravox. `scale`: of mlp's last layer."""
    writer = GGUFWriter(str(path), "clip")
    writer.add_bool("clip.has_vision_encoder", vision is not None)
    writer.add_bool("clip.has_audio_encoder", audio is not None)
    writer.add_bool("clip.use_gelu", True)
    weights = _Weights(writer)
    if vision is not None:
        _write_vision(writer, weights, vision, n_embd, scale)
    if audio is not None:
        _write_audio(writer, weights, audio, n_embd)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _write_shape(writer: GGUFWriter, part: str, kind: str, layers: int, n_embd: int) -> None:
    writer.add_string(f"clip.{part}.projector_type", kind)
    writer.add_uint32(f"clip.{part}.embedding_length", _WIDTH)
    writer.add_uint32(f"clip.{part}.feed_forward_length", _FF)
    writer.add_uint32(f"clip.{part}.block_count", layers)
    writer.add_uint32(f"clip.{part}.projection_dim", n_embd)
    writer.add_uint32(f"clip.{part}.attention.head_count", _HEADS)
    writer.add_float32(f"clip.{part}.attention.layer_norm_epsilon", 1e-5)


def _write_vision(writer: GGUFWriter, weights: _Weights, kind: str, n_embd: int, scale: float) -> None:
    _write_shape(writer, "vision", kind, 2, n_embd)
    side = _SIDE if kind == "mlp" else 2 * _SIDE  # gemma3 pools two by two patches
    writer.add_uint32("clip.vision.image_size", side)
    writer.add_uint32("clip.vision.patch_size", _PATCH)
    writer.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
    writer.add_array("clip.vision.image_std", [0.25, 0.25, 0.25])
    weights.matrix("v.patch_embd.weight", _WIDTH, 3, _PATCH, _PATCH, scale=0.1)
    if kind == "qwen2vl_merger":
        weights.matrix("v.patch_embd.weight.1", _WIDTH, 3, _PATCH, _PATCH, scale=0.1)
    else:
        weights.zeros("v.patch_embd.bias", _WIDTH)
        weights.matrix("v.position_embd.weight", (side // _PATCH) ** 2, _WIDTH)
    _write_layers(weights, "v", 2)
    weights.norm("v.post_ln")
    if kind == "mlp":
        weights.matrix("mm.0.weight", n_embd, _WIDTH, scale=1.0)
        weights.zeros("mm.0.bias", n_embd)
        weights.matrix("mm.2.weight", n_embd, n_embd, scale=0.3 * scale)
        weights.zeros("mm.2.bias", n_embd)
    elif kind == "qwen2vl_merger":
        weights.matrix("mm.0.weight", 4 * _WIDTH, 4 * _WIDTH)
        weights.zeros("mm.0.bias", 4 * _WIDTH)
        weights.matrix("mm.2.weight", n_embd, 4 * _WIDTH)
        weights.zeros("mm.2.bias", n_embd)
    else:
        writer.add_uint32("clip.vision.projector.scale_factor", 2)
        weights.matrix("mm.input_projection.weight", _WIDTH, n_embd)
        weights.ones("mm.soft_emb_norm.weight", _WIDTH)


def _write_audio(writer: GGUFWriter, weights: _Weights, kind: str, n_embd: int) -> None:
    _write_shape(writer, "audio", kind, 1, n_embd)
    writer.add_uint32("clip.audio.num_mel_bins", _MELS)
    writer.add_uint32("clip.audio.projector.stack_factor", _STACK)
    weights.half("a.conv1d.1.weight", _WIDTH, _MELS, 3)
    weights.matrix("a.conv1d.1.bias", _WIDTH, 1)
    weights.half("a.conv1d.2.weight", _WIDTH, _WIDTH, 3)
    weights.matrix("a.conv1d.2.bias", _WIDTH, 1)
    weights.matrix("a.position_embd.weight", 1500, _WIDTH)
    _write_layers(weights, "a", 1)
    weights.norm("a.post_ln")
    weights.ones("mm.a.norm_pre.weight", _WIDTH * _STACK)
    weights.matrix("mm.a.mlp.1.weight", 2 * _WIDTH, _WIDTH * _STACK)
    weights.ones("mm.a.norm_mid.weight", _WIDTH)
    weights.matrix("mm.a.mlp.2.weight", n_embd, _WIDTH)


def _write_layers(weights: _Weights, part: str, layers: int) -> None:
    for layer in range(layers):
        name = f"{part}.blk.{layer}."
        weights.norm(name + "ln1")
        weights.norm(name + "ln2")
        for piece in ("attn_q", "attn_k", "attn_v", "attn_out"):
            weights.matrix(f"{name}{piece}.weight", _WIDTH, _WIDTH)
            if (part, piece) != ("a", "attn_k"):
                weights.zeros(f"{name}{piece}.bias", _WIDTH)
        weights.matrix(name + "ffn_up.weight", _FF, _WIDTH)
        weights.zeros(name + "ffn_up.bias", _FF)
        weights.matrix(name + "ffn_down.weight", _WIDTH, _FF)
        weights.zeros(name + "ffn_down.bias", _WIDTH)


def pixels(seed: int, width: int = 40, height: int = 30) -> NDArray[np.uint8]:
    """Smooth random colours, so that no two seeds look alike after scaling."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR))


def picture(seed: int, *, form: str = "PNG", width: int = 40, height: int = 30) -> Media:
    """A picture that the small model can be shown."""
    file = BytesIO()
    Image.fromarray(pixels(seed, width, height)).save(file, form)
    return Media("image", file.getvalue())


def wave(seed: int, seconds: float = 0.5, rate: int = 16000) -> bytes:
    """A tone, another for each seed, as a WAV file of 16-bit samples."""
    time = np.arange(int(seconds * rate)) / rate
    samples: bytes = (9000 * np.sin(2 * np.pi * 150 * 2**seed * time)).astype("<i2").tobytes()
    head = b"fmt " + (16).to_bytes(4, "little") + b"\1\0\1\0" + rate.to_bytes(4, "little")
    head += (2 * rate).to_bytes(4, "little") + b"\2\0\x10\0"
    body = b"WAVE" + head + b"data" + len(samples).to_bytes(4, "little") + samples
    size = len(body).to_bytes(4, "little")
    return b"RIFF" + size + body


def sound(seed: int, seconds: float = 0.5) -> Media:
    """A sound that the small model can be played."""
    return Media("audio", wave(seed, seconds))
