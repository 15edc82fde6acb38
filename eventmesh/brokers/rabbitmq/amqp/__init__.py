"""An AMQP 0-9-1 client for the data path, where speed matters.

It consumes, acks, publishes with confirms, and does request/reply. It reads and writes the frames
of these with `struct`, and all other methods with pamqp. Declarations and inspection use aio-pika,
in the folder `management` beside this one.
"""
