"""What Hugging Face Inference Endpoints calls: the emotion of a recording.

A request is the bytes of a sound file, or JSON: "inputs", the same in base64, or samples as a dict
with "array" and "sampling_rate"; and "parameters", options of the pipeline such as "top_k",
"return_timeline", "return_flags" and "explain". A list of inputs has a list of answers.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import numpy as np
from transformers import pipeline

EXPECTED = (
    "expected the bytes of a sound file, the same in base64, or a dict with 'array' and "
    "'sampling_rate'."
)


class EndpointHandler:
    """The model of a folder, loaded once.

    Args:
        path: folder of the repository's files.
    """

    def __init__(self, path: str = ""):
        self.recognize = pipeline("audio-classification", model=path, trust_remote_code=True)

    def __call__(self, data: Mapping[str, Any]) -> Any:
        """Answer a request.

        Args:
            data: {"inputs", "parameters"} as the platform reads it from the request.

        Returns:
            What the pipeline returns: a list of {"score", "label"}, the best first, or a dict where
            parameters ask for more.

        Raises:
            ValueError: if there is no sound that can be used, or a parameter is wrong.
        """
        parameters = dict(data.get("parameters") or {})
        return self.recognize(read_inputs(data.get("inputs")), **parameters)


def read_inputs(inputs: Any) -> Any:
    """What a request holds, in a form that the pipeline takes. A text is never taken for a path or
    an address, which would be the server's.
    """
    if isinstance(inputs, list):
        return [read_inputs(one) for one in inputs]
    if isinstance(inputs, bytes | bytearray | memoryview):
        return bytes(inputs)
    if isinstance(inputs, str):
        try:
            # a browser's data URL has a head that ends with a comma
            return base64.b64decode(inputs.rpartition(",")[2], validate=True)
        except binascii.Error as error:
            raise ValueError(f"'inputs' is a text that is no base64, {EXPECTED}") from error
    if isinstance(inputs, Mapping) and {"array", "sampling_rate"} <= inputs.keys():
        samples = np.asarray(inputs["array"], np.float32)
        return {"array": samples, "sampling_rate": inputs["sampling_rate"]}
    if isinstance(inputs, Mapping) and isinstance(inputs.get("bytes"), str | bytes):
        return read_inputs(inputs["bytes"])
    raise ValueError(f"'inputs' is of type {type(inputs).__name__}, {EXPECTED}")
