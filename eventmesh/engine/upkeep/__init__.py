"""What an operator does with queues, whatever the broker: dead letters, and what is left over."""
