"""What carries messages: the embedded broker and RabbitMQ, under one contract.

`registry` knows which adapter belongs to which scheme of URLs.
"""
