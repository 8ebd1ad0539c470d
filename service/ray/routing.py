"""Where a task goes: to the replica that has its photo's encoding, unless that one has too much to do."""

from __future__ import annotations

import hashlib
from typing import Any

from ray.serve._private.request_router.pow_2_router import PowerOfTwoChoicesRequestRouter
from ray.serve.request_router import PendingRequest, RunningReplica

__all__ = ["StickyRouter"]


class StickyRouter(PowerOfTwoChoicesRequestRouter):  # type: ignore[misc]  # Ray's types are skipped
    """Ray's own router, which first tries the replica that a session belongs to; ours is the hash of the photo.

    A photo has an order of the replicas that does not change as others come and go (rendezvous hashing, Thaler and
    Ravishankar 1998). It goes to the first that is not busy; where all are, and for what has no session, Ray chooses.
    Ray's experimental router for sessions loses requests of the same moment: some are never sent.
    """

    def initialize_state(self, **kwargs: Any) -> None:  # noqa: ANN401 (Ray's own signature)
        """Take `max_waiting`: tasks at a replica from which on it counts as busy."""
        self._busy: int = kwargs["max_waiting"]

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Give groups of replicas; of the first that has a free one, the one with the least to do is taken."""
        others: list[list[RunningReplica]] = await super().choose_replicas(candidate_replicas, pending_request)
        if pending_request is None or not pending_request.metadata.session_id:
            return others
        calm = [replica for replica in candidate_replicas if self._waiting(replica) < self._busy]
        photo = pending_request.metadata.session_id
        return [*([replica] for replica in sorted(calm, key=lambda one: _score(photo, one))[:1]), *others]

    def _waiting(self, replica: RunningReplica) -> int:
        return self.replica_queue_len_cache.get(replica.replica_id) or 0

    def _get_pending_request_matching_metadata(self, request_metadata: Any = None) -> Any:  # noqa: ANN401
        """Give a replica to the request that it was chosen for; Ray gives it to the one that waited longest."""
        return self._get_pending_request_matching_internal_request_id(request_metadata)


def _score(photo: str, replica: RunningReplica) -> bytes:
    return hashlib.sha256(f"{photo} {replica.replica_id.unique_id}".encode()).digest()
