"""Certificates of an authority of the tests' own, and what RabbitMQ has to know to use them."""

from pathlib import Path

import trustme


class Certificates:
    """Files in a folder: that of the authority, the server's, and those of clients.

    The server's is for 127.0.0.1 alone: by another name of the machine it is not the right one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = trustme.CA()
        self._authority.cert_pem.write_to_path(self.cafile)
        server = self._authority.issue_cert("127.0.0.1")
        server.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")

    @property
    def cafile(self) -> Path:
        return self._folder / "ca.pem"

    def client(self, user: str) -> Path:
        """The certificate and key by which a user may log in."""
        path = self._folder / f"{user}.pem"
        issued = self._authority.issue_cert("client.example", common_name=user)
        issued.private_key_and_cert_chain_pem.write_to_path(path)
        return path


def settings(folder: str, listener: str) -> str:
    """Lines for rabbitmq.conf: TLS at a listener, with the files in `folder`.

    A client's certificate is verified, if it has one, and its common name is a user's.
    """
    return (
        f"listeners.ssl.1 = {listener}\n"
        f"ssl_options.cacertfile = {folder}/ca.pem\n"
        f"ssl_options.certfile = {folder}/server.pem\n"
        f"ssl_options.keyfile = {folder}/server.pem\n"
        "ssl_options.verify = verify_peer\n"
        "ssl_options.fail_if_no_peer_cert = false\n"
        "ssl_cert_login_from = common_name\n"
        "auth_mechanisms.1 = PLAIN\n"
        "auth_mechanisms.2 = AMQPLAIN\n"
        "auth_mechanisms.3 = EXTERNAL\n"
    )


PLUGIN = "rabbitmq_auth_mechanism_ssl"
"""Offers EXTERNAL: it comes with RabbitMQ."""
