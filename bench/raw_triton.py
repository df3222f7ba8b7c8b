"""tritonclient as its documentation and its speed recommend: what our client is held against.

One client for all callers; a caller keeps its `InferInput` and fills it for each call; the output
is asked for by name; each call has a deadline, as ours always do; and the answer is read as numpy.
Asking for all outputs, doing without a deadline, a private connection, and two, four or sixteen
connections for sixteen threads were no faster; a fresh `InferInput` for each call was 6 % slower,
and `async_infer` with a callback 10 % slower, for sixteen threads.
"""

from collections.abc import Sequence

import numpy as np
import tritonclient.grpc
import tritonclient.grpc.aio
from numpy.typing import NDArray

from pairs import AsyncCall, Call

Rows = Sequence[NDArray[np.float32]]


def caller(
    client: tritonclient.grpc.InferenceServerClient,
    names: tuple[str, str, str],
    rows: Rows,
    timeout_s: float,
) -> Call:
    """Return the call of one thread.

    Args:
        client: Shared by all threads.
        names: Of the model, its input and its output.
        rows: What is sent, by turns: float32, one row each, all of one shape.
        timeout_s: Deadline of each call.
    """
    model, input_name, output_name = names
    sent = tritonclient.grpc.InferInput(input_name, list(rows[0].shape), "FP32")
    wanted = [tritonclient.grpc.InferRequestedOutput(output_name)]

    def call(row: int) -> object:
        sent.set_data_from_numpy(rows[row % len(rows)])
        answer = client.infer(model, [sent], outputs=wanted, client_timeout=timeout_s)
        return answer.as_numpy(output_name)

    return call


def async_caller(
    client: tritonclient.grpc.aio.InferenceServerClient,
    names: tuple[str, str, str],
    rows: Rows,
    timeout_s: float,
) -> AsyncCall:
    """Return the call of one task; arguments as for `caller`."""
    model, input_name, output_name = names
    sent = tritonclient.grpc.InferInput(input_name, list(rows[0].shape), "FP32")
    wanted = [tritonclient.grpc.InferRequestedOutput(output_name)]

    async def call(row: int) -> object:
        sent.set_data_from_numpy(rows[row % len(rows)])
        answer = await client.infer(model, [sent], outputs=wanted, client_timeout=timeout_s)
        return answer.as_numpy(output_name)

    return call
