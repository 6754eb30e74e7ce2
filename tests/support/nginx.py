"""The shipped nginx configuration, run by a real nginx on free ports."""

from __future__ import annotations

import getpass
import re
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from tests.support.ports import free_port
from tests.support.waiting import wait_until

_SHIPPED = Path(__file__).parents[2] / "nginx"

#: In Debian's nginx this module is a file of its own. nginx's own packages have it built in.
_STREAM = Path("/usr/lib/nginx/modules/ngx_stream_module.so")


@contextmanager
def running_nginx(program: str, folder: Path, ports: Sequence[int]) -> Iterator[str]:
    """Run nginx with its files in `folder`, before the web replicas at `ports`. Gives its URL."""
    port = _install(folder, ports)
    log = folder / "log"
    with log.open("wb") as output:
        command = [program, "-p", folder, "-c", folder / "nginx.conf", "-e", "stderr"]
        module = f"load_module {_STREAM};" if _STREAM.exists() else ""
        options = f"daemon off; user {getpass.getuser()}; {module}"
        server = subprocess.Popen([*command, "-g", options], stdout=output, stderr=output)

    def listens() -> bool:
        assert server.poll() is None, log.read_text()
        with closing(socket.socket()) as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_until(listens, problem=log.read_text)
        yield f"http://127.0.0.1:{port}"
        assert server.poll() is None, log.read_text()
    finally:
        server.terminate()
        server.wait(10)


def _install(folder: Path, ports: Sequence[int]) -> int:
    """Write the shipped files with other addresses, and nothing else changed.

    The ports replace `web:8000 resolve`, which Debian's nginx does not know yet.
    """
    first = 0
    for shipped in _SHIPPED.glob("*.conf"):
        text = shipped.read_text().replace("/tmp/", f"{folder}/")
        for listen in re.findall(r"listen \d+", text):
            port = free_port()
            text = text.replace(listen, f"listen 127.0.0.1:{port}")
            first = port if listen == "listen 8080" else first
        replicas = "\n".join(rf"server 127.0.0.1:{port} \1;" for port in ports)
        text = re.sub(r"server web:8000 resolve ([^;]*);", replicas, text)
        (folder / shipped.name).write_text(text)
    return first
