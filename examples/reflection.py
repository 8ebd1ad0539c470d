"""Talk to a server that tells by itself what it can do: nothing of automask is imported, and no .proto file is read.

It works as a client in any language would: gRPC's server reflection gives the contract, and the messages are made from
that. Needs `pip install grpcio-reflection`, and a server: `automask serve`.

    python examples/reflection.py 127.0.0.1:50051                                    # what is there
    python examples/reflection.py 127.0.0.1:50051 examples/coffee.jpg cup mask.png   # one mask
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


def listing(database: ProtoReflectionDescriptorDatabase, pool: DescriptorPool) -> str:
    """Every service of the server with its methods, as `grpcurl list` and `grpcurl describe` tell them."""
    lines = []
    for name in sorted(database.get_services()):
        lines.append(name)
        for method in pool.FindServiceByName(name).methods:
            takes = "stream " * method.client_streaming + method.input_type.name
            gives = "stream " * method.server_streaming + method.output_type.name
            lines.append(f"  {method.name}({takes}) returns ({gives})")
    return "\n".join(lines)


def call(channel: grpc.Channel, pool: DescriptorPool, name: str, request: dict[str, Any]) -> Any:  # noqa: ANN401
    """Call a method that takes and gives one message."""
    method = pool.FindServiceByName(SERVICE).methods_by_name[name]
    invoke: Any = channel.unary_unary(
        f"/{SERVICE}/{name}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    return invoke(GetMessageClass(method.input_type)(**request))


def main() -> None:
    """Do what the module says."""
    if len(sys.argv) not in {2, 5}:
        sys.exit(__doc__)
    with grpc.insecure_channel(sys.argv[1]) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(database)
        if len(sys.argv) == 2:
            print(listing(database, pool))
            return
        photo, prompt, output = sys.argv[2:]
        task = {"image": {"encoded": Path(photo).read_bytes()}, "prompts": [prompt], "parameters": {"grow_mask": 0}}
        response = call(channel, pool, "Generate", {"task": task}).response
        (result,) = response.results
        Path(output).write_bytes(result.media[0].data)
        found = ", ".join(f"{one.label} {one.score:.2f}" for one in result.instances)
        print(f"{output}: {found or 'nothing found'}, {response.timings.total_ms:.0f} ms on {response.device}")


if __name__ == "__main__":
    main()
