"""Random and mutated calls: each is answered, none with an internal error, and only work costs a credit.

``make fuzz EXAMPLES=5000`` tries more.
"""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from random import Random

import httpx
import pytest

from automask.service.keys.sqlite import SqliteKeyStore
from support.hostile_bodies import random_body
from support.threaded_server import serving

V1, V2 = "/v1/automatic-mask-generator", "/v2/automatic-mask-generator"
EXAMPLES = int(os.environ.get("AUTOMASK_FUZZ_EXAMPLES", "150"))
EXPECTED = {200, 400, 404, 429}


@pytest.mark.parametrize("path", [V1, V2])
def test_any_body_is_answered_and_only_work_is_paid(tmp_path: Path, path: str) -> None:
    random = Random(path)  # noqa: S311 (reproducible)
    answered = 0
    with (
        closing(SqliteKeyStore(tmp_path / "keys", create=True)) as keys,
        serving(tmp_path, http_port=0, keys=tmp_path / "keys", max_queue=EXAMPLES) as server,
        httpx.Client(base_url=f"http://{server.http_address}", timeout=60) as http,
    ):
        key = keys.add("fuzz", credits=2 * EXAMPLES)
        for number in range(EXAMPLES):
            body, content_type = random_body(random)
            response = http.post(path, content=body, headers={"content-type": content_type, "x-api-key": key})
            assert response.status_code in EXPECTED, f"number {number}: {response.text}\n{content_type}\n{body!r}"
            if response.status_code == 200:
                answered += 1
            else:
                assert response.json()["error"]
        if path == V1:
            assert keys.credits("fuzz") == 2 * EXAMPLES - answered
    assert 0 < answered < EXAMPLES
