"""The kernel buffers little for a connection."""

from __future__ import annotations

import array
import fcntl
import socket
import termios
import threading

import pytest

from web.server.slow_downloads import buffer_little


def test_the_kernel_keeps_little_that_a_client_has_sent() -> None:
    """By default it gives megabytes to a client whose bytes were read fast before."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    with client, far:
        buffer_little(far)
        fast = threading.Thread(target=client.sendall, args=(bytes(40_000_000),))
        fast.start()
        left = 40_000_000
        while left:
            left -= len(far.recv(2**18))
        fast.join()
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.sendall(bytes(40_000_000))
        unread = array.array("i", [0])
        fcntl.ioctl(far, termios.FIONREAD, unread)
        assert 0 < unread[0] < 2**19
