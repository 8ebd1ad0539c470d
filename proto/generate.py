"""Lint `automask/v1/*.proto`, generate their Python code and docs/grpc.md. With `--check`, only compare them.

`make proto` runs this in its own environment, because grpcio-tools pins protobuf; the Makefile has the versions. The
code that grpcio-tools 1.76 generates works with protobuf 6.31 to 7.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from reference import render

HERE = Path(__file__).parent
REFERENCE = HERE.parent / "docs" / "grpc.md"
PACKAGE = "automask/v1"


def protoc(*arguments: str) -> None:
    """Run the protoc inside grpcio-tools. The messages of google.rpc come from a wheel."""
    includes = (f"--proto_path={HERE}", f"--proto_path={files('google.rpc').joinpath('../..')}")
    command = [sys.executable, "-m", "grpc_tools.protoc", *includes, *arguments]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # protoc looks for its plugins there
    subprocess.run(command, check=True, env={**os.environ, "PATH": path})


def lint(protos: list[str], folder: Path) -> bytes:
    """Check the contract by buf's STANDARD rules, as one image: buf finds imports only in its own registry.

    Returns the image.
    """
    image = folder / "image.binpb"
    protoc(f"--descriptor_set_out={image}", "--include_imports", "--include_source_info", *protos)
    buf = [str(Path(sys.executable).parent / "buf"), "lint", str(image)]
    subprocess.run([*buf, "--config", str(HERE / "buf.yaml"), "--path", "automask"], check=True)
    return image.read_bytes()


def generate(protos: list[str], folder: Path) -> dict[str, bytes]:
    """Return the content of the generated files by name."""
    protoc(f"--python_out={folder}", f"--mypy_out=quiet:{folder}", *protos)
    services = [name for name in protos if name.endswith("_service.proto")]
    protoc(f"--grpc_python_out={folder}", f"--mypy_grpc_out=quiet:{folder}", *services)
    return {path.name: path.read_bytes() for path in (folder / PACKAGE).glob("*_pb2*")}


def main() -> None:
    """Write the changed files, or with `--check` list them and exit with 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if a file is stale")
    check = parser.parse_args().check
    protos = sorted(str(path.relative_to(HERE)) for path in (HERE / PACKAGE).glob("*.proto"))
    with tempfile.TemporaryDirectory() as scratch:
        image = lint(protos, Path(scratch))
        code = generate(protos, Path(scratch))
    target = HERE / PACKAGE
    generated = {target / name: content for name, content in code.items()}
    generated[REFERENCE] = render(image, PACKAGE.replace("/", ".")).encode()
    committed = {path: path.read_bytes() for path in (*target.glob("*_pb2*"), REFERENCE) if path.exists()}
    stale = sorted(path for path in generated.keys() | committed.keys() if generated.get(path) != committed.get(path))
    if check and stale:
        sys.exit(f"stale: {', '.join(path.name for path in stale)}; run `make proto` and commit the result")
    for path in stale:
        if path in generated:
            path.write_bytes(generated[path])
        else:
            path.unlink()
    print(f"{len(protos)} .proto files are clean, {len(generated)} generated files are up to date")


if __name__ == "__main__":
    main()
