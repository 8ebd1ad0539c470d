"""The hosted API: the name of its model, and the OpenAPI schema of its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final, get_args

from automask.matting import MAX_FEATHER
from automask.parameters import MAX_SEED, Alpha, Edges, Parameters
from automask.postprocess import MAX_RADIUS

from ..limits import MAX_PROMPT_LENGTH

__all__ = ["SCHEMA", "SLUG", "body_schema"]

SLUG: Final = "automatic-mask-generator"
"""Name of the model in the URLs of the hosted API."""

_DESCRIPTIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "image": {"type": "string", "description": "Image: a data: URI, base64 or an http(s) URL, or an uploaded file."},
    "prompt": {"type": "string", "maxLength": MAX_PROMPT_LENGTH, "description": "What to mask.", "example": "cup"},
    "exclude": {
        "type": "string",
        "maxLength": MAX_PROMPT_LENGTH,
        "description": "What to leave out of the mask. Not in the hosted API.",
        "default": "",
    },
    "threshold": {"type": "number", "minimum": 0, "maximum": 1, "description": "Minimum score."},
    "grow_mask": {
        "type": "integer",
        "minimum": 0,
        "maximum": MAX_RADIUS,
        "description": "Number of pixels to expand the mask by.",
    },
    "invert_mask": {"type": "boolean", "description": "Mask everything but the prompt."},
    "return_mask": {"type": "boolean", "description": "Return the mask; if false, a preview."},
    "return_alpha": {
        "type": "boolean",
        "description": "Return the image cut out by the mask. Takes priority over return_mask.",
    },
    "stop_on_empty_mask": {"type": "boolean", "description": "Return an error, not a black mask, if nothing is found."},
    "seed": {"type": "integer", "minimum": -1, "maximum": MAX_SEED, "description": "Returned as it is; has no effect."},
    "base64": {"type": "boolean", "description": "Return JSON with base64, not bytes (v1 only)."},
    "edges": {
        "type": "string",
        "enum": [*get_args(Edges)],
        "description": "How the outline is drawn: along the edges in the image (fast), with a second, closer view of "
        "the largest objects (fine), or as the model drew it (model). Not in the hosted API.",
    },
    "alpha": {
        "type": "string",
        "enum": [*get_args(Alpha)],
        "description": "Edge of the cut-out: as sharp as the mask (hard), or soft along hair and blur, which wants "
        "grow_mask 0 (soft). Not in the hosted API.",
    },
    "feather": {
        "type": "integer",
        "minimum": 0,
        "maximum": MAX_FEATHER,
        "description": "Width in pixels of a smooth ramp outside the mask. Not in the hosted API.",
    },
    "model": {
        "type": "string",
        "description": "Name of a model of this server; empty for its first one. Not in the hosted API.",
        "default": "",
    },
}
_DEFAULTS: Final = asdict(Parameters())

SCHEMA: Final[Mapping[str, Mapping[str, Any]]] = {
    name: {**schema, "default": _DEFAULTS[name]} if name in _DEFAULTS else schema
    for name, schema in _DESCRIPTIONS.items()
}
"""OpenAPI schema of each parameter."""


def body_schema(content_type: str) -> dict[str, Any]:
    """Return the OpenAPI schema of a body of one content type."""
    properties = dict(SCHEMA)
    if content_type == "multipart/form-data":
        properties["image"] = {**SCHEMA["image"], "format": "binary"}  # lets API clients offer an upload
    return {"type": "object", "required": ["image", "prompt"], "properties": properties}
