"""Where a task goes: to the replica that has its photo's encoding, unless that one has too much to do."""

from __future__ import annotations

import random
from typing import Any

from ray.serve.experimental.consistent_hash_router import ConsistentHashRouter
from ray.serve.request_router import PendingRequest, RunningReplica

__all__ = ["StickyRouter"]


class StickyRouter(ConsistentHashRouter):  # type: ignore[misc]  # Ray's classes are skipped, as its types are not kept up
    """Chooses by the session, which is the hash of the photo, on Ray's ring of replicas.

    A photo has an order of replicas that hardly changes as replicas come and go. It goes to the first that is not
    busy; where all of those are, and for what has no session, to the one with the least to do.
    """

    def initialize_state(self, **kwargs: Any) -> None:  # noqa: ANN401 (Ray's own signature)
        """Take `max_waiting`: tasks at a replica from which on it counts as busy."""
        self._busy = kwargs.pop("max_waiting")
        super().initialize_state(**kwargs)

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Give groups of replicas; of the first that has a free one, the one with the least to do is taken."""
        ranks: list[list[RunningReplica]] = await super().choose_replicas(candidate_replicas, pending_request)
        anyone = random.sample(candidate_replicas, len(candidate_replicas))  # not always the first of idle ones
        if pending_request is None or not pending_request.metadata.session_id:
            return [anyone]
        calm = [rank for rank in ranks if self._waiting(rank[0]) < self._busy]
        return [*calm[:1], anyone]

    def _waiting(self, replica: RunningReplica) -> int:
        return self.replica_queue_len_cache.get(replica.replica_id) or 0
