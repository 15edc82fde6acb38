"""Publishing, consuming and RPC on the AMQP client of our own."""
