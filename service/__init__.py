"""automask over gRPC: the server behind `automask serve`, and its clients."""
