"""What carries messages: the embedded broker and RabbitMQ, under one contract."""
