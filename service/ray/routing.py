"""Routing of a task to the replica that has the encoding of its image in its cache, unless that one is busy."""

from __future__ import annotations

import hashlib
from typing import Any

from ray.serve._private.request_router.pow_2_router import PowerOfTwoChoicesRequestRouter
from ray.serve.request_router import PendingRequest, RunningReplica

__all__ = ["StickyRouter"]


class StickyRouter(PowerOfTwoChoicesRequestRouter):  # type: ignore[misc]  # Ray's types are skipped
    """Ray's default router, which tries the replica that belongs to a session first. The session is the image's hash.

    Each image orders the replicas, and the order stays the same as replicas come and go (rendezvous hashing, Thaler
    and Ravishankar 1998). The task goes to the first replica that is not busy; if all are busy, or without a session,
    Ray chooses. Ray's experimental session router loses simultaneous requests: some are never sent.
    """

    def initialize_state(self, **kwargs: Any) -> None:  # noqa: ANN401 (Ray's own signature)
        """Take `max_waiting`: a replica with this many tasks counts as busy."""
        self._busy: int = kwargs["max_waiting"]

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Return groups of replicas. Ray takes the least busy replica of the first group that has a free one."""
        others: list[list[RunningReplica]] = await super().choose_replicas(candidate_replicas, pending_request)
        if pending_request is None or not pending_request.metadata.session_id:
            return others
        free = [replica for replica in candidate_replicas if self._waiting(replica) < self._busy]
        image = pending_request.metadata.session_id
        return [*([replica] for replica in sorted(free, key=lambda one: _score(image, one))[:1]), *others]

    def _waiting(self, replica: RunningReplica) -> int:
        return self.replica_queue_len_cache.get(replica.replica_id) or 0

    def _get_pending_request_matching_metadata(self, request_metadata: Any = None) -> Any:  # noqa: ANN401
        """Return the request that a replica was chosen for; Ray would return the one that has waited longest."""
        return self._get_pending_request_matching_internal_request_id(request_metadata)


def _score(image: str, replica: RunningReplica) -> bytes:
    return hashlib.sha256(f"{image} {replica.replica_id.unique_id}".encode()).digest()
