"""One user of RabbitMQ for each service: names, permissions and definitions."""
