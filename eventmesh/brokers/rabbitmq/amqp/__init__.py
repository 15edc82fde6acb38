"""The part of AMQP 0-9-1 that carries messages, spoken by hand because it is what costs.

Consuming, acknowledging, publishing with confirms, and request/reply. Frames of those four are
walked with `struct`; every other method goes through pamqp. Declaring, inspecting and the like is
done by aio-pika, in `control.py` one folder up.
"""
