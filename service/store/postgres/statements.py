"""SQL statements of the store in PostgreSQL.

States are literals where a partial index covers one state: with a parameter, the index would not be used.
"""

from __future__ import annotations

from typing import Final

from ..records import SELECT_RECORD

__all__ = [
    "COLLECT",
    "DELETE_EXPIRED",
    "END",
    "HELD",
    "INSERT",
    "LATE",
    "LEASE",
    "LEASE_FAIR",
    "LOST",
    "PUT_BACK",
    "RECORD",
    "RELEASE",
    "RENEW",
    "REQUEUE",
]

RECORD: Final = (
    SELECT_RECORD.encode()
    + b"""
WHERE id = %(id)s AND owner = %(owner)s AND (expires IS NULL OR expires > %(now)s)
"""
)

# A concurrent transaction with the same idempotency key waits here for the other to end.
INSERT: Final = b"""
INSERT INTO requests (id, owner, model, state, idempotency_key, digest, size, created, deadline, is_large)
VALUES (%(id)s, %(owner)s, %(model)s, %(state)s, %(key)s, %(digest)s, %(size)s, %(now)s, %(deadline)s, %(is_large)s)
ON CONFLICT DO NOTHING
"""

# Concurrent calls get different requests, and none waits.
LEASE: Final = b"""
WITH head AS MATERIALIZED (
    SELECT id FROM requests WHERE state = 'QUEUED' AND (deadline IS NULL OR deadline > %(now)s)
        AND NOT (is_large AND %(only_small)s)
    ORDER BY position LIMIT 1 FOR UPDATE SKIP LOCKED
)
UPDATE requests SET state = %(state)s, attempts = attempts + 1, fence = fence + 1, started = %(now)s,
    lease_until = %(until)s
FROM head JOIN tasks ON tasks.id = head.id WHERE requests.id = head.id
RETURNING requests.id, owner, model, attempts, created, started, deadline, fence, is_large, data, object
"""

# The owner with the fewest requests in work is first.
LEASE_FAIR: Final = LEASE.replace(
    b"ORDER BY position LIMIT 1 FOR UPDATE SKIP LOCKED",
    b"""ORDER BY (
        SELECT count(*) FROM requests AS busy WHERE busy.state = 'PROCESSING' AND busy.owner = requests.owner
    ), position LIMIT 1 FOR UPDATE SKIP LOCKED""",
)

RENEW: Final = b"""
UPDATE requests SET lease_until = %(until)s FROM unnest(%(ids)s::text[], %(fences)s::bigint[]) AS held (id, fence)
WHERE requests.id = held.id AND requests.fence = held.fence AND state = 'PROCESSING' RETURNING requests.id
"""

# Deletes the photo at once: it is private, and large.
END: Final = b"""
WITH ended AS (
    UPDATE requests SET state = %(new)s, lease_until = NULL, ended = %(now)s, expires = %(expires)s,
        error = %(error)s, ended_by = %(token)s, size = %(size)s
    WHERE id = %(id)s AND state = %(old)s AND (%(fence)s::bigint IS NULL OR fence = %(fence)s) RETURNING id
), dropped AS (
    DELETE FROM tasks USING ended WHERE tasks.id = ended.id RETURNING object
), unused AS (
    UPDATE objects SET collect_after = %(now)s FROM dropped WHERE path = dropped.object
)
SELECT id FROM ended
"""

RELEASE: Final = b"""
UPDATE requests SET state = %(state)s, lease_until = NULL, attempts = attempts - 1,
    is_large = is_large OR %(is_large)s
WHERE id = %(id)s AND state = 'PROCESSING' AND fence = %(fence)s
"""

HELD: Final = b"""
SELECT id, owner, attempts, put_backs FROM requests
WHERE id = %(id)s AND state = 'PROCESSING' AND fence = %(fence)s FOR UPDATE
"""

PUT_BACK: Final = b"""
UPDATE requests SET state = %(state)s, lease_until = NULL, attempts = attempts - 1, put_backs = put_backs + 1
WHERE id = %(id)s
"""

REQUEUE: Final = b"""
UPDATE requests SET state = %(state)s, lease_until = NULL, position = nextval('positions') WHERE id = %(id)s
"""

# Rows that another server has locked are left to it: each change is reported by one server.
LATE: Final = b"""
SELECT id, owner, state, deadline - created FROM requests WHERE ended IS NULL AND deadline <= %s
ORDER BY position FOR UPDATE SKIP LOCKED
"""

LOST: Final = b"""
SELECT id, owner, attempts FROM requests WHERE state = 'PROCESSING' AND lease_until <= %s
ORDER BY position FOR UPDATE SKIP LOCKED
"""

DELETE_EXPIRED: Final = b"""
WITH gone AS (
    DELETE FROM requests WHERE id IN (
        SELECT id FROM requests WHERE expires <= %(now)s
            AND (%(key)s::bytea IS NULL OR owner = %(owner)s AND idempotency_key = %(key)s)
        LIMIT %(most)s FOR UPDATE SKIP LOCKED
    ) RETURNING id
), unused AS (
    UPDATE objects SET collect_after = %(now)s FROM results JOIN gone USING (id) WHERE path = results.object
)
SELECT id FROM gone
"""

COLLECT: Final = b"""
SELECT path FROM objects WHERE collect_after <= %s ORDER BY collect_after LIMIT 1 FOR UPDATE SKIP LOCKED
"""
