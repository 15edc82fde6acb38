"""Publishing, consuming and RPC, on our own AMQP client."""
