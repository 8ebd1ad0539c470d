"""The hosted API: the name of its model, and its parameters as OpenAPI describes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from automask.parameters import MAX_SEED
from automask.postprocess import MAX_RADIUS

from ..limits import MAX_PROMPT_LENGTH

__all__ = ["SCHEMA", "SLUG"]

SLUG: Final = "automatic-mask-generator"
"""Name of the model in the URLs of the hosted API."""

SCHEMA: Final[Mapping[str, Mapping[str, Any]]] = {
    "image": {
        "type": "string",
        "description": "The photo: a data: URI, base64, an http(s) URL, or an uploaded file in multipart/form-data.",
    },
    "prompt": {"type": "string", "maxLength": MAX_PROMPT_LENGTH, "description": "What to mask."},
    "exclude": {
        "type": "string",
        "maxLength": MAX_PROMPT_LENGTH,
        "description": "What to leave out; not in the hosted API.",
    },
    "threshold": {"type": "number", "minimum": 0, "maximum": 1, "description": "Least score of what is taken."},
    "grow_mask": {
        "type": "integer",
        "minimum": 0,
        "maximum": MAX_RADIUS,
        "description": "Pixels by which the mask is expanded.",
    },
    "invert_mask": {"type": "boolean", "description": "Mask everything but the prompt."},
    "return_mask": {"type": "boolean", "description": "Answer with the mask; without it, with a preview."},
    "return_alpha": {"type": "boolean", "description": "Answer with the photo cut out by the mask; wins over it."},
    "stop_on_empty_mask": {"type": "boolean", "description": "Where nothing is found: an error, not a black mask."},
    "seed": {"type": "integer", "minimum": -1, "maximum": MAX_SEED, "description": "Echoed; nothing here is random."},
    "base64": {"type": "boolean", "description": "Answer with JSON that holds base64 (v1), not with bytes."},
    "model": {"type": "string", "description": "A model of this server; not in the hosted API."},
}
"""Each parameter as OpenAPI describes it; the defaults are those of `Parameters`."""
