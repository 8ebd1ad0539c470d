"""The statements of the store in PostgreSQL.

States are literals where an index holds only the rows of one: with a parameter, it would not be used.
"""

from __future__ import annotations

from typing import Final

__all__ = ["COLLECT", "END", "FORGET", "INSERT", "LATE", "LEASE", "LOST", "RECORD", "RELEASE", "RENEW", "REQUEUE"]

RECORD: Final = b"""
SELECT id, owner, model, state, CASE state WHEN 'QUEUED' THEN (
    SELECT count(*) FROM requests AS before WHERE before.state = 'QUEUED' AND before.position < requests.position
) END, attempts, created, started, ended, expires, error, NULL
FROM requests WHERE id = %(id)s AND owner = %(owner)s AND (expires IS NULL OR expires > %(now)s)
"""

# Whoever comes with a key at the same moment waits here for the other to be done.
INSERT: Final = b"""
INSERT INTO requests (id, owner, model, state, idempotency_key, digest, size, created, deadline)
VALUES (%(id)s, %(owner)s, %(model)s, %(state)s, %(key)s, %(digest)s, %(size)s, %(now)s, %(deadline)s)
ON CONFLICT DO NOTHING
"""

# Of several that ask at once, each gets another one, and none waits.
LEASE: Final = b"""
WITH head AS MATERIALIZED (
    SELECT id FROM requests WHERE state = 'QUEUED' AND (deadline IS NULL OR deadline > %(now)s)
    ORDER BY position LIMIT 1 FOR UPDATE SKIP LOCKED
)
UPDATE requests SET state = %(state)s, attempts = attempts + 1, fence = fence + 1, started = %(now)s,
    lease_until = %(until)s
FROM head JOIN tasks ON tasks.id = head.id WHERE requests.id = head.id
RETURNING requests.id, owner, model, attempts, created, started, deadline, fence, data, object
"""

RENEW: Final = b"""
UPDATE requests SET lease_until = %(until)s FROM unnest(%(ids)s::text[], %(fences)s::bigint[]) AS held (id, fence)
WHERE requests.id = held.id AND requests.fence = held.fence AND state = 'PROCESSING' RETURNING requests.id
"""

# Drops the photo at once: it is private, and large.
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
UPDATE requests SET state = %(state)s, lease_until = NULL, attempts = attempts - 1
WHERE id = %(id)s AND state = 'PROCESSING' AND fence = %(fence)s
"""

REQUEUE: Final = b"""
UPDATE requests SET state = %(state)s, lease_until = NULL, position = nextval('positions') WHERE id = %(id)s
"""

# What another server is at is left to it, so that of several each change is told by one.
LATE: Final = b"""
SELECT id, owner, state, deadline - created FROM requests WHERE ended IS NULL AND deadline <= %s
ORDER BY position FOR UPDATE SKIP LOCKED
"""

LOST: Final = b"""
SELECT id, owner, attempts FROM requests WHERE state = 'PROCESSING' AND lease_until <= %s
ORDER BY position FOR UPDATE SKIP LOCKED
"""

FORGET: Final = b"""
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
