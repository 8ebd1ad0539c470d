"""The `[ray]` table of the settings: how many replicas, and on what. Known without Ray."""

from __future__ import annotations

from math import ceil

from pydantic import BaseModel, ConfigDict, Field

from automask.devices import AUTO, DEVICES
from automask.errors import ParameterError

__all__ = ["RaySettings", "Scale"]


class Scale(BaseModel):
    """The replicas of one model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_replicas: int = Field(default=1, ge=0, description="Fewest replicas; 0 lets a model go that nobody asks for.")
    max_replicas: int = Field(default=1, ge=1, description="Most replicas.")
    num_cpus: float = Field(default=1, ge=0, description="CPUs that Ray sets aside for a replica.")
    num_gpus: float = Field(default=0, ge=0, description="GPUs, or a part of one: 0.5 puts two replicas on each.")
    target_ongoing: float = Field(default=2, gt=0, description="Tasks per replica from which on more are started.")
    max_ongoing: int | None = Field(default=None, ge=1, description="Most tasks at a replica; others wait elsewhere.")

    @property
    def workers(self) -> int:
        """Tasks that a replica works on at once, unless the setting `workers` says so."""
        return 2 if self.num_gpus else self.threads

    @property
    def threads(self) -> int:
        """CPU threads of one graph, unless the setting `threads` says so: other replicas have the other cores."""
        return max(1, ceil(self.num_cpus))

    def check(self, where: str, *, device: str) -> None:
        """Refuse what does not go together.

        Raises
        ------
        ParameterError
            There are fewer replicas at most than at least, or a GPU is wanted without one.
        """
        if self.max_replicas < self.min_replicas:
            right = f"be at least {where}.min_replicas, {self.min_replicas}"
            raise ParameterError(f"{where}.max_replicas", right, self.max_replicas)
        if device != AUTO and DEVICES[device].is_gpu and not self.num_gpus:
            right = f"be more than 0 for device = {device}: Ray hides every GPU from a replica that asks for none"
            raise ParameterError(f"{where}.num_gpus", right, self.num_gpus)


class RaySettings(Scale):
    """What is said of all models, of single ones, and of the replicas in front of them."""

    api_replicas: int = Field(default=1, ge=1, description="Replicas that answer calls and hold no model.")
    api_cpus: float = Field(default=0.5, ge=0, description="CPUs that Ray sets aside for each of them.")
    multiplex: int | None = Field(
        default=None,
        ge=1,
        description="Models that one replica holds, out of all; else each has its own.",
    )
    sticky: bool = Field(default=True, description="Send a photo to the replica whose cache has it.")
    models: dict[str, Scale] = Field(default={}, description="By model, as `model` names it: what differs.")

    def scale(self, model: str) -> Scale:
        """Give what holds for one model."""
        different = self.models.get(model)
        said = {} if different is None else different.model_dump(exclude_unset=True)
        return Scale.model_validate(self.model_dump(include=set(Scale.model_fields)) | said)

    def check(self, where: str = "ray", *, device: str) -> None:
        """Refuse what does not go together; raises as `Scale.check` does."""
        super().check(where, device=device)
        for model in self.models:
            self.scale(model).check(f"{where}.models.{model}", device=device)
