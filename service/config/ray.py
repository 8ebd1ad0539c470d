"""The `[ray]` table of the settings: replicas and their resources. Does not import Ray."""

from __future__ import annotations

from math import ceil

from pydantic import BaseModel, ConfigDict, Field

from automask.devices import AUTO, DEVICES
from automask.errors import ParameterError

__all__ = ["RaySettings", "Scale"]


class Scale(BaseModel):
    """Replicas of one model and their resources."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_replicas: int = Field(default=1, ge=0, description="Minimum replicas; 0 unloads an unused model.")
    max_replicas: int = Field(default=1, ge=1, description="Maximum replicas.")
    num_cpus: float = Field(default=1, ge=0, description="CPUs reserved for each replica.")
    num_gpus: float = Field(default=0, ge=0, description="GPUs for each replica; 0.5 puts two replicas on one GPU.")
    target_ongoing: float = Field(default=2, gt=0, description="Tasks per replica above which Ray adds replicas.")
    max_ongoing: int | None = Field(
        default=None, ge=1, description="Maximum tasks at one replica, running and waiting."
    )

    @property
    def workers(self) -> int:
        """Default of the setting `workers`: tasks that a replica runs at once."""
        return 2 if self.num_gpus else self.threads

    @property
    def threads(self) -> int:
        """Default of the setting `threads`: CPU threads of one graph, as many as the CPUs reserved for a replica."""
        return max(1, ceil(self.num_cpus))

    def check(self, where: str, *, device: str) -> None:
        """Check the combination of values.

        Raises
        ------
        ParameterError
            `max_replicas` is less than `min_replicas`, or the device needs a GPU and `num_gpus` is 0.
        """
        if self.max_replicas < self.min_replicas:
            requirement = f"be at least {where}.min_replicas, {self.min_replicas}"
            raise ParameterError(f"{where}.max_replicas", requirement, self.max_replicas)
        if device != AUTO and DEVICES[device].is_gpu and not self.num_gpus:
            requirement = f"be greater than 0 for device = {device}: Ray hides GPUs from a replica that reserves none"
            raise ParameterError(f"{where}.num_gpus", requirement, self.num_gpus)


class RaySettings(Scale):
    """Settings of all models, of single models, and of the API replicas."""

    api_replicas: int = Field(default=1, ge=1, description="Replicas that answer calls; they load no model.")
    api_cpus: float = Field(default=0.5, ge=0, description="CPUs reserved for each API replica.")
    multiplex: int | None = Field(
        default=None,
        ge=1,
        description="Maximum models loaded in one replica; without it, each model has its own replicas.",
    )
    sticky: bool = Field(default=True, description="Route a photo to the replica that has it in its cache.")
    models: dict[str, Scale] = Field(default={}, description="Different values for single models, by name.")

    def scale(self, model: str) -> Scale:
        """Return the values for one model."""
        override = self.models.get(model)
        changed = {} if override is None else override.model_dump(exclude_unset=True)
        return Scale.model_validate(self.model_dump(include=set(Scale.model_fields)) | changed)

    def check(self, where: str = "ray", *, device: str) -> None:
        """Check all models; raises like `Scale.check`."""
        super().check(where, device=device)
        for model in self.models:
            self.scale(model).check(f"{where}.models.{model}", device=device)
