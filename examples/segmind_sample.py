"""Call your own server with the hosted API's client, used as its package describes, and print the responses.

    pip install segmind==1.3.0
    automask serve --http-port 8080
    python examples/segmind_sample.py http://127.0.0.1:8080/v1 examples/coffee.jpg cup

If the server requires a key, the client reads it from SEGMIND_API_KEY, as it does for the hosted API.
"""

from __future__ import annotations

import base64
import sys
from pathlib import Path

import httpx
from segmind import InferenceFailed, SegmindClient, SegmindError

SLUG = "automatic-mask-generator"


def main(base_url: str, photo: str, prompt: str) -> None:
    """Make each kind of call once."""
    image = base64.b64encode(Path(photo).read_bytes()).decode()
    client = SegmindClient(base_url=base_url)  # the only difference from the hosted API

    print(f">>> client.run({SLUG!r}, image=…, prompt={prompt!r}, threshold=0.2, grow_mask=10)")
    result = client.run(SLUG, image=image, prompt=prompt, threshold=0.2, grow_mask=10)
    print(result)

    print(">>> httpx.get(result['output'])")
    picture = httpx.get(result["output"])
    print(f"{picture.headers['content-type']}, {len(picture.content):,} bytes")

    print(f">>> client.run_sync({SLUG!r}, image=…, prompt={prompt!r}, invert_mask=True)")
    response = client.run_sync(SLUG, image=image, prompt=prompt, invert_mask=True)
    headers = {
        name: value for name, value in response.headers.items() if name.startswith("x-") and "options" not in name
    }
    print(f"{response.headers['content-type']}, {len(response.content):,} bytes, {headers}")

    print(f">>> job = client.submit_async({SLUG!r}, image=…, prompt={prompt!r}, return_alpha=True)")
    job = client.submit_async(SLUG, image=image, prompt=prompt, return_alpha=True)
    print(job.status_url)
    print(">>> job.wait(timeout=300)")
    print(job.wait(timeout=300))

    print(">>> client.run(…, image='no image at all')")
    try:
        client.run(SLUG, image=base64.b64encode(b"\xff\xd8\xff no JPEG").decode(), prompt=prompt)
    except InferenceFailed as error:
        print(f"InferenceFailed: {error.detail}")

    print(">>> client.run(…, threshold=1.7)")
    try:
        client.run(SLUG, image=image, prompt=prompt, threshold=1.7)
    except SegmindError as error:
        print(repr(error))

    print(">>> client.run('another-model')")
    try:
        client.run("another-model", image=image, prompt=prompt)
    except SegmindError as error:
        print(repr(error))


if __name__ == "__main__":
    main(*sys.argv[1:])
