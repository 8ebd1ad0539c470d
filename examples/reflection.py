"""Call a server without any of automask's code: neither the package nor a .proto file is needed.

A client in another language can work in the same way. gRPC's server reflection returns the contract, and the message
classes are built from it. This needs `pip install grpcio-reflection`, and a running server: `automask serve`.

    python examples/reflection.py 127.0.0.1:50051                                    # list services and methods
    python examples/reflection.py 127.0.0.1:50051 examples/coffee.jpg cup mask.png   # write one mask
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

SERVICE = "automask.v1.MaskService"


def list_methods(database: ProtoReflectionDescriptorDatabase, pool: DescriptorPool) -> str:
    """Return all services of the server with their methods, like `grpcurl list` and `grpcurl describe`."""
    lines = []
    for name in sorted(database.get_services()):
        lines.append(name)
        for method in pool.FindServiceByName(name).methods:
            request = "stream " * method.client_streaming + method.input_type.name
            response = "stream " * method.server_streaming + method.output_type.name
            lines.append(f"  {method.name}({request}) returns ({response})")
    return "\n".join(lines)


def call(channel: grpc.Channel, pool: DescriptorPool, name: str, request: dict[str, Any]) -> Any:  # noqa: ANN401
    """Call a method with one request message and one response message."""
    method = pool.FindServiceByName(SERVICE).methods_by_name[name]
    invoke: Any = channel.unary_unary(
        f"/{SERVICE}/{name}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    return invoke(GetMessageClass(method.input_type)(**request))


def write_mask(channel: grpc.Channel, pool: DescriptorPool, photo: Path, prompt: str, output: Path) -> None:
    """Send a photo and a prompt, and write the mask as a PNG."""
    task = {"image": {"encoded": photo.read_bytes()}, "prompts": [prompt], "parameters": {"grow_mask": 0}}
    response = call(channel, pool, "Generate", {"task": task}).response
    (result,) = response.results  # one for each prompt
    output.write_bytes(result.media[0].data)
    found = ", ".join(f"{one.label} {one.score:.2f}" for one in result.instances)
    print(f"{output}: {found or 'nothing found'}, {response.timings.total_ms:.0f} ms on {response.device}")


def main() -> None:
    """Read the command line."""
    if len(sys.argv) not in {2, 5}:
        sys.exit(__doc__)
    address, *arguments = sys.argv[1:]
    with grpc.insecure_channel(address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(database)
        if arguments:
            photo, prompt, output = arguments
            write_mask(channel, pool, Path(photo), prompt, Path(output))
        else:
            print(list_methods(database, pool))


if __name__ == "__main__":
    main()
