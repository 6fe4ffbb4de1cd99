"""What a request may ask of an encoder beside its rows.

Owns `dimensions` and the refusals that need no more than the request and what the encoder says of itself.
Pure; any thread.
"""

import numpy as np

from llmatic.core.encoding import EncodeRequest
from llmatic.core.errors import InvalidRequest
from llmatic.core.types import EncoderInfo
from llmatic.engines.encoding.backend import Matrix


def misfit(request: EncodeRequest, encoder: EncoderInfo) -> InvalidRequest | None:
    """Why the encoder cannot do what the request asks for, if so."""
    wanted, n_columns = request.dimensions, encoder.n_columns
    if wanted is not None and wanted > n_columns:
        reason = f"Invalid value for 'dimensions' = {wanted}. Must be less than or equal to {n_columns}."
        return InvalidRequest(reason, param="dimensions")
    if wanted is not None and wanted != n_columns and not encoder.has_dimensions:
        return InvalidRequest("This model does not support specifying dimensions.", param="dimensions")
    kind = request.input_type
    if kind is not None and kind not in (encoder.prompts or {}):
        reason = (
            f"This model has no prompt for 'input_type' = '{kind}'. "
            f"The option 'prompts' of its registry entry gives it one: prompts: {{{kind}: \"…\"}}."
        )
        return InvalidRequest(reason, param="input_type")
    return None


def cut(block: Matrix, n_columns: int | None) -> Matrix:
    """The first columns of each row, brought to unit length again; None: the rows as they are."""
    if n_columns is None or n_columns == block.shape[1]:
        return block
    block = block[:, :n_columns]
    lengths = np.linalg.norm(block, axis=1, keepdims=True)
    shortened: Matrix = np.divide(block, lengths, out=np.zeros_like(block), where=lengths > 0)
    return shortened
