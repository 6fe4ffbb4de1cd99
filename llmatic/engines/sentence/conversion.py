"""From torch to OpenVINO: converting, reducing weights to int8, and checking what came of it.

Owns the texts of the check and its limits. Imports torch and openvino when it is called. Runs where the model
is loaded, seconds long.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from llmatic.core.types import EncodeTask
from llmatic.engines.encoding.backend import Item, Matrix
from llmatic.engines.sentence.computing import Computer, Shape, Unconvertible
from llmatic.engines.sentence.library import TorchModel
from llmatic.engines.sentence.padding import columns_of
from llmatic.engines.sentence.tokenizer import FastTokenizer

MAX_DIFFERENCE = 1e-4
MIN_COSINE = 0.995
MAX_INT8_DIFFERENCE = 0.05
CHECK_TEXTS = (
    "Hello",
    "What is the capital city of France?",
    "The ferry to the island leaves at half past seven, and the last one back goes at ten in the evening.",
    "Invoices are paid within thirty days of receipt; later payments bear interest at the statutory rate.",
    "def area(width: float, height: float) -> float:\n    return width * height",
    "Der Zug nach Zürich fährt heute von Gleis 9 ab. Le train pour Genève partira du quai 3.",
    "Patients who took the tablets for six weeks slept longer and woke less often than those who did not. "
    "The difference was largest in those above sixty, and vanished a month after the treatment had ended. "
    * 3,
)


def convert(model: TorchModel) -> Any:
    """An openvino.Model of the same columns, dynamic in number and length. Raises Unconvertible."""
    import openvino
    import torch

    # Both rows whole would be traced as a model that needs no mask.
    example = {name: torch.zeros((2, 8), dtype=torch.int64) for name in model.shape.columns}
    example["input_ids"] += 1
    example["attention_mask"] += 1
    example["attention_mask"][1, 5:] = 0
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")
            made = openvino.convert_model(model.module, example_input=tuple(example.values()))
        if len(made.inputs) != len(example) or len(made.outputs) != 1:
            raise Unconvertible(f"it came out with {len(made.inputs)} inputs and {len(made.outputs)} outputs")
        for port in made.inputs:
            port.get_node().set_partial_shape(openvino.PartialShape([-1, -1]))
            port.get_node().set_element_type(openvino.Type.i64)
        made.validate_nodes_and_infer_types()
    except Unconvertible:
        raise
    except Exception as error:  # the converter's refusals have no common type
        raise Unconvertible(" ".join(str(error).split())[:300] or type(error).__name__) from error
    return made


def reduce_weights(model: Any) -> int:
    """Keep the weights of all products in int8, one scale for each output; returns how many there were.

    Symmetric, by the largest weight of an output, as in LLM.int8() (arXiv:2208.07339) without its outliers.
    OpenVINO's CPU plugin then quantises what comes in as it computes.
    """
    import openvino.opset13 as ops

    n_reduced = 0
    for node in model.get_ops():
        if node.get_type_name() != "MatMul":
            continue
        weights = node.input_value(1).get_node()
        if weights.get_type_name() != "Constant" or len(weights.get_output_shape(0)) != 2:
            continue
        values = np.asarray(weights.data, np.float32)
        axis = 1 if node.get_attributes()["transpose_b"] else 0
        scale = np.abs(values).max(axis=axis, keepdims=True) / 127
        scale[scale == 0] = 1
        small = np.clip(np.rint(values / scale), -127, 127).astype(np.int8)
        restored = ops.multiply(ops.convert(ops.constant(small), "f32"), ops.constant(scale))
        node.input(1).replace_source_output(restored.output(0))
        n_reduced += 1
    model.validate_nodes_and_infer_types()
    return n_reduced


def check_items(shape: Shape, n_context: int, task: EncodeTask) -> list[Item]:
    """Inputs of very different lengths, cut where the model's longest input ends; to rank, in two halves."""
    tokenizer = FastTokenizer(shape.tokenizer, n_vocab=shape.n_vocab, has_types=False, filler=0)
    frame = tokenizer.frame
    room = max(1, n_context - frame.n_single)
    contents = tokenizer.tokenize(CHECK_TEXTS)
    inputs = [[*frame.before, *content[:room], *frame.after] for content in contents]
    if task != "rank":
        return [Item(ids) for ids in inputs]
    return [Item(ids, [int(place > len(ids) // 2) for place in range(len(ids))]) for ids in inputs]


def compare(shape: Shape, items: Sequence[Item], right: Computer, other: Computer, task: EncodeTask) -> None:
    """Raise Unconvertible unless `other` computes what `right` does, alone and in a batch."""
    wanted = _rows(shape, items, right)
    for batch in (items, items[:1]):
        found = _rows(shape, batch, other)
        problem = _problem(wanted[: len(batch)], found, other.precision == "int8", task)
        if problem:
            raise Unconvertible(problem)


def _rows(shape: Shape, items: Sequence[Item], computer: Computer) -> Matrix:
    length = computer.padded(len(items), max(len(item.ids) for item in items))
    return computer.rows(columns_of(items, shape.columns, shape.pad_id, length))


def _problem(wanted: Matrix, found: Matrix, is_int8: bool, task: EncodeTask) -> str:
    if wanted.shape != found.shape:
        return f"rows have the shape {found.shape} instead of {wanted.shape}"
    difference = float(np.abs(wanted - found).max())
    if not is_int8:
        limit = MAX_DIFFERENCE * max(1.0, float(np.abs(wanted).max()))
        return f"rows differ by {difference:.2g}" if not difference <= limit else ""
    if task == "embed":
        lengths = np.linalg.norm(wanted, axis=1) * np.linalg.norm(found, axis=1)
        cosine = float(((wanted * found).sum(axis=1) / lengths).mean())
        return f"with int8 weights the cosine to f32 is {cosine:.4f}" if not cosine >= MIN_COSINE else ""
    limit = MAX_INT8_DIFFERENCE * max(1.0, float(np.abs(wanted).max()))
    return f"with int8 weights rows differ by {difference:.2g}" if not difference <= limit else ""


def save(model: Any, path: Any) -> None:
    """Write an openvino.Model with its weights as they are, to `path` (.xml) and beside it (.bin)."""
    import openvino

    openvino.save_model(model, str(path), compress_to_fp16=False)
