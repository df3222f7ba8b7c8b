"""A runtime of MLServer's own interface: words in, the same words in capitals out."""

from mlserver import MLModel  # type: ignore[import-not-found] # only in the server's environment
from mlserver.codecs import StringCodec  # type: ignore[import-not-found]
from mlserver.types import InferenceRequest, InferenceResponse  # type: ignore[import-not-found]


class Shout(MLModel):  # type: ignore[misc]
    """BYTES[any, 1] to BYTES[any, 1]."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer one request."""
        words = StringCodec.decode_input(payload.inputs[0])
        loud = StringCodec.encode_output("loud", [word.upper() for word in words])
        return InferenceResponse(model_name=self.name, outputs=[loud])
