"""Parts of requests and answers of HTTP/1.1 as bytes, for clients that write them as they like."""

HOST = b"Host: localhost\r\n"
JSON = b"Content-Type: application/json\r\n"


def status_of(answer):
    return int(answer.split(b" ", 2)[1])
