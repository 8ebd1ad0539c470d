"""Lint `automask/v1/*.proto` and generate their Python code. With `--check`, only compare the code.

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

HERE = Path(__file__).parent
PACKAGE = "automask/v1"


def protoc(*arguments: str) -> None:
    """Run the protoc inside grpcio-tools. The messages of google.rpc come from a wheel."""
    includes = (f"--proto_path={HERE}", f"--proto_path={files('google.rpc').joinpath('../..')}")
    command = [sys.executable, "-m", "grpc_tools.protoc", *includes, *arguments]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # protoc looks for its plugins there
    subprocess.run(command, check=True, env={**os.environ, "PATH": path})


def lint(protos: list[str], folder: Path) -> None:
    """Check the contract by buf's STANDARD rules, as one image: buf finds imports only in its own registry."""
    image = folder / "image.binpb"
    protoc(f"--descriptor_set_out={image}", "--include_imports", "--include_source_info", *protos)
    buf = [str(Path(sys.executable).parent / "buf"), "lint", str(image)]
    subprocess.run([*buf, "--config", str(HERE / "buf.yaml"), "--path", "automask"], check=True)


def generate(protos: list[str], folder: Path) -> dict[str, bytes]:
    """Return the content of the generated files by name."""
    protoc(f"--python_out={folder}", f"--mypy_out=quiet:{folder}", *protos)
    services = [name for name in protos if name.endswith("_service.proto")]
    protoc(f"--grpc_python_out={folder}", f"--mypy_grpc_out=quiet:{folder}", *services)
    return {path.name: path.read_bytes() for path in (folder / PACKAGE).glob("*_pb2*")}


def main() -> None:
    """Write the changed files, or with `--check` list them and exit with 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if the code is stale")
    check = parser.parse_args().check
    protos = sorted(str(path.relative_to(HERE)) for path in (HERE / PACKAGE).glob("*.proto"))
    with tempfile.TemporaryDirectory() as scratch:
        lint(protos, Path(scratch))
        generated = generate(protos, Path(scratch))
    target = HERE / PACKAGE
    committed = {path.name: path.read_bytes() for path in target.glob("*_pb2*")}
    stale = sorted(name for name in generated.keys() | committed.keys() if generated.get(name) != committed.get(name))
    if check and stale:
        sys.exit(f"stale: {', '.join(stale)}; run `make proto` and commit the result")
    for name in stale:
        if name in generated:
            (target / name).write_bytes(generated[name])
        else:
            (target / name).unlink()
    print(f"{len(protos)} .proto files are clean, {len(generated)} generated files are up to date")


if __name__ == "__main__":
    main()
