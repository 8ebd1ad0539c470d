"""Attention as one operator of ONNX Runtime's own, instead of the dozen nodes that exporters write.

ONNX Runtime's optimizer for transformers and onnxscript's `optimize_for_ort` match the attention of particular models.
Both were tried, and match nothing in the slimmed graphs of this package.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import onnx
from onnx import helper, numpy_helper

__all__ = ["fuse_attention"]

_DOMAIN = "com.microsoft"
_HEADS_FIRST = [0, 2, 1, 3]
_KEYS_TRANSPOSED = [0, 2, 3, 1]


@dataclass(frozen=True)
class _Attention:
    """softmax(scale q kᵀ) v, with the nodes that split the heads before and join them after."""

    query: str
    key: str
    value: str
    output: onnx.NodeProto
    heads: int
    scale: float


def fuse_attention(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace, in place, every attention without a mask and with a fixed number of heads; return the model."""
    graph = _Graph(model)
    found = list(graph.attentions())
    for attention in found:
        node = helper.make_node(
            "MultiHeadAttention",
            [attention.query, attention.key, attention.value],
            list(attention.output.output),
            name=attention.output.name,
            domain=_DOMAIN,
            num_heads=attention.heads,
            scale=attention.scale,
        )
        attention.output.CopyFrom(node)
    if found:
        model.opset_import.append(helper.make_opsetid(_DOMAIN, 1))
    _remove_unused(model)
    return model


class _Graph:
    """A graph, indexed so that nodes can be found from their outputs."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._nodes = model.graph.node
        self._producers = {name: node for node in self._nodes for name in node.output}
        self._constants = {t.name: t for t in model.graph.initializer}
        self._readers = Counter(name for node in self._nodes for name in node.input)

    def attentions(self) -> Iterator[_Attention]:
        """Yield every attention, found from the node that joins its heads."""
        for node in self._nodes:
            if node.op_type == "Reshape" and (attention := self._attention(node)):
                yield attention

    def _attention(self, node: onnx.NodeProto) -> _Attention | None:
        joined = self._producer(node.input[0], "Transpose", _HEADS_FIRST)
        mixed = joined and self._producer(joined.input[0], "MatMul")
        weights = mixed and self._producer(mixed.input[0], "Softmax")
        scaled = weights and self._producer(weights.input[0], "Mul")
        products = scaled and self._producer(scaled.input[0], "MatMul")
        if not (mixed and scaled and products):
            return None
        scale = self._constants.get(scaled.input[1])
        sides = [
            self._split(products.input[0], _HEADS_FIRST),
            self._split(products.input[1], _KEYS_TRANSPOSED),
            self._split(mixed.input[1], _HEADS_FIRST),
        ]
        whole = [side for side in sides if side is not None]
        if scale is None or len(whole) < 3 or len({heads for _, heads in whole}) > 1:
            return None
        (query, heads), (key, _), (value, _) = whole
        return _Attention(query, key, value, node, heads, float(numpy_helper.to_array(scale).item()))

    def _split(self, name: str, order: list[int]) -> tuple[str, int] | None:
        """Return the tensor that was split into heads, and the number of heads."""
        transposed = self._producer(name, "Transpose", order)
        node = transposed and self._producer(transposed.input[0], "Reshape")
        shape = node and self._constants.get(node.input[1])
        if not (node and shape):
            return None
        lengths = numpy_helper.to_array(shape)
        return (node.input[0], int(lengths[2])) if len(lengths) == 4 and lengths[2] > 0 else None

    def _producer(self, name: str, operator: str, order: list[int] | None = None) -> onnx.NodeProto | None:
        node = self._producers.get(name)
        if node is None or node.op_type != operator or self._readers[name] > 1:
            return None
        if order is not None and list(node.attribute[0].ints) != order:
            return None
        return node


def _remove_unused(model: onnx.ModelProto) -> None:
    outputs = {output.name for output in model.graph.output}
    while True:
        read = outputs | {name for node in model.graph.node for name in node.input}
        unread = [node for node in model.graph.node if not read & set(node.output)]
        if not unread:
            break
        for node in unread:
            model.graph.node.remove(node)
    for tensor in [t for t in model.graph.initializer if t.name not in read]:
        model.graph.initializer.remove(tensor)
