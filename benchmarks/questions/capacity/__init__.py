"""The question `capacity`: how latency grows with the rate of calls, by the model, a simulation and a real server."""

from .measurements import measure
from .tables import draw, markdown

__all__ = ["draw", "markdown", "measure"]
