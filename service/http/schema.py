"""The hosted API: the name of its model, and the OpenAPI schema of its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final, get_args

from automask.matting import MAX_FEATHER
from automask.parameters import MAX_SEED, Alpha, Edges, Parameters
from automask.postprocess import MAX_RADIUS
from automask.selection import MAX_POINTS

from ..limits import MAX_PROMPT_LENGTH

__all__ = ["ARRAYS", "SCHEMA", "SLUG", "body_schema"]

SLUG: Final = "automatic-mask-generator"
"""Name of the model in the URLs of the hosted API."""

_DESCRIPTIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "image": {"type": "string", "description": "Image: a data: URI, base64 or an http(s) URL."},
    "prompt": {
        "type": "string",
        "maxLength": MAX_PROMPT_LENGTH,
        "description": "What to mask. Required without a box or points.",
        "example": "cup",
    },
    "exclude": {
        "type": "string",
        "maxLength": MAX_PROMPT_LENGTH,
        "description": "What to leave out of the mask, in the words of a prompt: 'cup and spoon'. Subtracted from the "
        "grown mask, and not grown itself. Not in the hosted API.",
        "default": "",
    },
    "box": {
        "type": "array",
        "items": {"type": "number"},
        "maxItems": 4,
        "description": "Left, top, right, bottom in pixels of the image: a box around one object. Masks that object, "
        "or corrects an object of the prompt. Not in the hosted API.",
        "example": [],
    },
    "points": {
        "type": "array",
        "items": {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3},
        "maxItems": MAX_POINTS,
        "description": "Points x, y, label in pixels of the image; label 1 is on the object, 0 is not. They mean one "
        "object, or correct the objects of the prompt. Not in the hosted API.",
        "example": [],
    },
    "keep": {
        "type": "array",
        "items": {"type": "integer", "minimum": 0},
        "description": "Indices of the prompt's objects to keep, the best one is 0; all by default. Not in the hosted "
        "API.",
        "example": [],
    },
    "drop": {
        "type": "array",
        "items": {"type": "integer", "minimum": 0},
        "description": "Indices of the prompt's objects to leave out. Not in the hosted API.",
        "example": [],
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

ARRAYS: Final = tuple(name for name, schema in SCHEMA.items() if schema["type"] == "array")
"""Names of the parameters that are arrays."""
_AS_TEXT: Final = " As a JSON array, or numbers with commas; points with semicolons between them."


def body_schema(content_type: str) -> dict[str, Any]:
    """Return the OpenAPI schema of a body of one content type; a prompt is only left out with a box or points."""
    properties = dict(SCHEMA)
    if content_type != "application/json":
        properties |= {
            name: {"type": "string", "description": SCHEMA[name]["description"] + _AS_TEXT, "default": ""}
            for name in ARRAYS
        }
    if content_type == "multipart/form-data":
        properties["image"] = {
            "type": "string",
            "format": "binary",
            "description": f"An uploaded file. {SCHEMA['image']['description']}",
        }
    return {"type": "object", "required": ["image"], "properties": properties}
