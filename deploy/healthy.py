"""Check the health of the server at the socket ``AUTOMASK_UDS``, for HEALTHCHECK. The exit status is 0 if it serves."""  # noqa: INP001

import os
import sys
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

# The socket needs neither a certificate nor a key, also if the ports do.
with grpc.insecure_channel(f"unix:{os.environ['AUTOMASK_UDS']}") as channel:
    try:
        stub: Any = health_pb2_grpc.HealthStub(channel)  # its type stubs list no methods
        response = stub.Check(health_pb2.HealthCheckRequest(), timeout=4)
    except grpc.RpcError as error:
        sys.exit(f"no response: {error.code().name}")
if response.status != health_pb2.HealthCheckResponse.SERVING:
    sys.exit(health_pb2.HealthCheckResponse.ServingStatus.Name(response.status))
