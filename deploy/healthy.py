"""Ask the server at ``AUTOMASK_UDS`` whether it serves; exit status 0 if so. For HEALTHCHECK and the like."""  # noqa: INP001

import os
import sys
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

# The socket needs neither a certificate nor a key, whatever the ports need.
with grpc.insecure_channel(f"unix:{os.environ['AUTOMASK_UDS']}") as channel:
    try:
        stub: Any = health_pb2_grpc.HealthStub(channel)  # of which the stubs for mypy know no methods
        answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=4)
    except grpc.RpcError as error:
        sys.exit(f"no answer: {error.code().name}")
if answer.status != health_pb2.HealthCheckResponse.SERVING:
    sys.exit(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
