"""The server: one address of this machine, with a token in it."""

from __future__ import annotations

import secrets
import socket
import sys
from contextlib import suppress

from vitreous.config.projects import ServeConfig
from vitreous.errors import OptionError
from vitreous.report.terminal import print_lines
from vitreous.runs.project import the_project

HOST = "127.0.0.1"


def _socket(port: int) -> socket.socket:
    """The port, taken."""
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((HOST, port))
    except (OSError, OverflowError) as error:
        found.close()
        raise OptionError(
            f"port {port} of {HOST} cannot be had: {error}",
            where="--port",
            hint="give another, or 0 for any that is free",
        ) from error
    return found


def serve_project(config: ServeConfig) -> None:
    """Show a project until Ctrl-C.

    Raises
    ------
    InputError
        If the folder lies in no project.
    OptionError
        If the port cannot be had, or the extra ``web`` is not installed.
    """
    project = the_project(config.project)
    try:
        import uvicorn

        from vitreous.web.application import application
    except ImportError as error:
        raise OptionError(
            f"vitreous serve needs {error.name}", hint="pip install 'vitreous[web]'"
        ) from error
    token = secrets.token_urlsafe(24)
    taken = _socket(config.port)
    app = application(project, token, allow_jobs=config.allow_jobs)
    may = "jobs can be stopped and gone on with" if config.allow_jobs else "read only"
    address = f"http://{HOST}:{taken.getsockname()[1]}/{token}/"
    print_lines(f"{project.name} ({may}), until Ctrl-C: {address}")
    sys.stdout.flush()  # it is to be read before the end, also from a file
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    with suppress(KeyboardInterrupt):
        server.run(sockets=[taken])
