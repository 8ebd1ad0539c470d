"""The common part of models that read free text."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import transformers

from .. import clip_tokenizer
from ..checkpoint import Checkpoint, CheckpointError
from ..model import Model
from ..network import load_network
from ..submodels import Submodel

__all__ = ["FreeTextModel"]


class FreeTextModel(Model):
    """A checkpoint with a text encoder: network, tokenizer and image processor.

    Attributes
    ----------
    networks
        Name of the class in transformers, by ``model_type`` of `config.json`.
    image_role
        Role of the graph that reads the image.
    pools_at
        Where CLIP's text encoder reads the embedding of a prompt; see `automask.export.clip_tokenizer`.
    """

    networks: ClassVar[Mapping[str, str]]
    image_role: ClassVar[str]
    pools_at: ClassVar[str] = "highest"

    packages = (
        "torch", "transformers", "tokenizers", "optimum", "optimum-onnx", "onnx", "onnxslim", "onnxruntime", "numpy",
    )  # fmt: skip

    # Networks, tokenizers and processors of transformers share no typed base.
    def __init__(self, network: Any, tokenizer: Any, processor: Any) -> None:  # noqa: ANN401
        self.network, self.tokenizer, self.processor = network, tokenizer, processor
        settings = self.image_settings()
        self.image = {self.image_role: settings}
        self.image_size = settings["size"]
        self.submodels = self.split()

    @classmethod
    def load(cls, checkpoint: Checkpoint, image_size: int | None) -> Self:
        """Load a checkpoint.

        Parameters
        ----------
        image_size
            Side of the square image in pixels; None for the checkpoint's own, or the architecture's default.

        Raises
        ------
        CheckpointError
            A file is missing or unreadable, or uses an unsupported setting.
        ParameterError
            The network does not take images of this size.
        MissingDependencyError
            The network needs a package that is not installed.
        """
        kind = getattr(transformers, cls.networks[checkpoint.config["model_type"]])
        config = _read_config(checkpoint, kind)
        cls.check_config(config, checkpoint.name)
        tokenizer = cls.load_tokenizer(checkpoint, config)
        processor = cls.load_processor(checkpoint, config, image_size)
        return cls(cls.load_network(checkpoint, kind), tokenizer, processor)

    @classmethod
    def check_config(cls, config: Any, name: str) -> None:  # noqa: ANN401
        """Check that the graphs support a configuration; by default they support any.

        Raises
        ------
        CheckpointError
            They do not.
        MissingDependencyError
            The network needs a package that is not installed.
        """
        del config, name

    @classmethod
    def load_tokenizer(cls, checkpoint: Checkpoint, config: Any) -> Any:  # noqa: ANN401
        """Read the tokenizer, by default CLIP's; raises `CheckpointError` if it is missing or another one."""
        return clip_tokenizer.load_tokenizer(checkpoint, config.text_config, pools_at=cls.pools_at)

    @classmethod
    @abstractmethod
    def load_processor(cls, checkpoint: Checkpoint, config: Any, image_size: int | None) -> Any:  # noqa: ANN401
        """Read the image processor; raises as `load` does."""

    @classmethod
    def load_network(cls, checkpoint: Checkpoint, kind: Any) -> Any:  # noqa: ANN401
        """Load the weights into the class `kind`; raises as `automask.export.network.load_network` does."""
        return load_network(checkpoint, kind)

    @abstractmethod
    def image_settings(self) -> dict[str, Any]:
        """Return the preprocessing of the image, as the manifest has it."""

    @abstractmethod
    def split(self) -> Mapping[str, Submodel]:
        """Return the graphs by role."""

    def write_settings(self, bundle: Path) -> dict[str, Any]:
        """Write the settings; see `Model`."""
        self.processor.to_json_file(bundle / "preprocessor_config.json")
        self.network.config.to_json_file(bundle / "config.json")
        return self.write_tokenizer(bundle / "tokenizer.json")

    def write_tokenizer(self, path: Path) -> dict[str, Any]:
        """Write the tokenizer, by default CLIP's; return ``text`` of the manifest."""
        longest = self.network.config.text_config.max_position_embeddings
        return clip_tokenizer.write_tokenizer(self.tokenizer, longest, path)


def _read_config(checkpoint: Checkpoint, kind: Any) -> Any:  # noqa: ANN401
    """Read the configuration of a class of transformers.

    Raises
    ------
    CheckpointError
        transformers cannot read it.
    """
    try:
        return kind.config_class.from_dict(checkpoint.config)
    except Exception as error:  # a wrong type in it can raise anything
        raise CheckpointError(f"config.json of {checkpoint.name} cannot be read: {error}") from error
