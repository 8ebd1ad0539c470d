"""The common part of models with a fixed set of labels in one graph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import transformers
from torch import nn

from automask.publish import write_json

from ..checkpoint import Checkpoint
from ..graphs import Tensor
from ..model import Model
from ..network import load_network
from ..words import describe_words, vocabulary_for
from ..words.sources import find_wordnet
from .card import model_card
from .labels import read_labels
from .networks import submodel
from .processors import fit_to, image_settings, load_processor, own_size, stretch_to

if TYPE_CHECKING:
    from transformers import BaseImageProcessor, PreTrainedModel

__all__ = ["LabelSetModel"]

_VOCABULARY = "vocabulary.json"


class LabelSetModel(Model):
    """A checkpoint of one automatic class of transformers.

    Attributes
    ----------
    auto_class
        Name of the class in transformers.
    role
        Role of the graph.
    fitted
        Values of ``model_type`` whose images are fitted into the square; those of the others are stretched.
    """

    auto_class: ClassVar[str]
    role: ClassVar[str]
    fitted: ClassVar[Mapping[str, Mapping[str, Any]]]

    packages = ("torch", "transformers", "optimum", "optimum-onnx", "onnx", "onnxslim", "onnxruntime", "numpy")
    # The published operating point of all of them is a probability of 0.5: the default `threshold` of transformers'
    # post_process_object_detection and post_process_instance_segmentation, and the best label of two.
    calibration = ((0, 0), (0.5, 0.2), (1, 1))

    def __init__(
        self, network: PreTrainedModel, processor: BaseImageProcessor, labels: tuple[str, ...], image_size: int
    ) -> None:
        self.network, self.processor, self.labels, self.image_size = network, processor, labels, image_size
        kind = network.config.model_type
        if kind in self.fitted:
            fit_to(processor, image_size)
        else:
            stretch_to(processor, image_size)
        inputs = {"pixel_values": Tensor(("batch", 3, image_size, image_size)), **self.more_inputs()}
        self.submodels = {self.role: submodel(self.module(), inputs)}
        more = {**self.fitted.get(kind, {}), **self.more_settings()}
        self.image = {self.role: {**image_settings(processor), **more}}

    @classmethod
    def load(cls, checkpoint: Checkpoint, image_size: int | None) -> Self:
        """Load a checkpoint.

        Parameters
        ----------
        image_size
            Side of the square image in pixels; None for the shorter side of the checkpoint's own size.

        Raises
        ------
        CheckpointError
            A file is missing or unreadable, or the classes have no names.
        ParameterError
            The network does not take images of this size.
        """
        labels, processor = read_labels(checkpoint), load_processor(checkpoint)
        network = cls.load_network(checkpoint, getattr(transformers, cls.auto_class))
        return cls(network, processor, labels, image_size or own_size(processor))

    @staticmethod
    def load_network(checkpoint: Checkpoint, auto_class: Any) -> PreTrainedModel:  # noqa: ANN401 (no typed base)
        """Load the weights; raises as `automask.export.network.load_network` does."""
        network: PreTrainedModel = load_network(checkpoint, auto_class)
        return network

    def module(self) -> nn.Module:
        """Return the network as a module with named inputs and outputs."""
        raise NotImplementedError

    def more_inputs(self) -> Mapping[str, Tensor]:
        """Return the inputs of the graph besides the pixels."""
        return {}

    def more_settings(self) -> Mapping[str, Any]:
        """Return further settings under ``image``, once the graph's shapes are known."""
        return {}

    def more_text(self) -> Mapping[str, Any]:
        """Return further settings under ``text``."""
        return {}

    def write_settings(self, bundle: Path) -> dict[str, Any]:
        """Write the settings and the vocabulary; see `Model`."""
        self.processor.to_json_file(bundle / "preprocessor_config.json")
        self.network.config.to_json_file(bundle / "config.json")
        wordnet, missing = find_wordnet()
        vocabulary = vocabulary_for(self.labels, wordnet)
        self.notes = [f"words: {describe_words(self.labels, vocabulary, missing)}"]
        write_json(bundle / _VOCABULARY, vocabulary, indent=None)
        return {"file": _VOCABULARY, "unplaced": vocabulary["unplaced"], **self.more_text()}

    def model_card(self, manifest: Mapping[str, Any]) -> str:
        """Write the card; see `Model`."""
        return model_card(manifest, self.labels)
