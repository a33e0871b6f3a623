"""Addresses and what is found at them; nothing is written, and jobs are touched only if allowed."""

from __future__ import annotations

import secrets
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from vitreous.errors import VitreousError
from vitreous.runs.project import Project, number_of
from vitreous.web import actions
from vitreous.web.pages import Pages

_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

_HOSTS = ["127.0.0.1", "localhost"]
"""Names in requests that are answered: a page elsewhere cannot point its own name here."""


class _Served:
    """Answers of a project's server."""

    def __init__(self, project: Project, token: str, allow_jobs: bool):
        self._project, self._token, self._allow_jobs = project, token, allow_jobs
        self._pages = Pages(project, allow_jobs=allow_jobs)

    def _admit(self, request: Request) -> None:
        given = str(request.path_params.get("token", ""))
        if not secrets.compare_digest(given.encode(), self._token.encode()):
            raise HTTPException(403, "The address needs the token that vitreous serve printed.")

    def _job(self, request: Request) -> Path:
        """Folder of a job of the project."""
        self._admit(request)
        name = request.path_params["folder"]
        folder = self._project.root / name
        if number_of(name) is None or not folder.is_dir():
            raise HTTPException(404)
        return folder

    async def refused(self, request: Request) -> Response:
        """What lies at no address of the project."""
        self._admit(request)
        raise HTTPException(404)

    async def project(self, request: Request) -> Response:
        """The tree of jobs."""
        self._admit(request)
        return HTMLResponse(await run_in_threadpool(self._pages.project), headers=_HEADERS)

    async def job(self, request: Request) -> Response:
        """A job's page: its report, or how it stands."""
        folder = self._job(request)
        try:
            page = await run_in_threadpool(self._pages.job, folder)
        except VitreousError as error:
            raise HTTPException(404, error.line()) from error
        return HTMLResponse(page, headers=_HEADERS)

    async def file(self, request: Request) -> Response:
        """A file of a job, to be saved; a page within is shown."""
        folder = self._job(request).resolve()
        try:
            path = (folder / request.path_params["path"]).resolve()
        except (OSError, ValueError) as error:  # no name that a file can have
            raise HTTPException(404) from error
        if not path.is_relative_to(folder) or not path.is_file():
            raise HTTPException(404)
        if path.name == "report.html":
            return FileResponse(path, headers=_HEADERS)
        return FileResponse(
            path, media_type="application/octet-stream", filename=path.name, headers=_HEADERS
        )

    async def act(self, request: Request) -> Response:
        """Stop a job, or go on with it."""
        folder = self._job(request)
        if not self._allow_jobs:
            raise HTTPException(403, "Read only: vitreous serve --allow-jobs lets jobs be stopped.")
        act = actions.ACTIONS.get(request.path_params["action"])
        if act is None:
            raise HTTPException(404)
        try:
            await run_in_threadpool(act, folder)
        except VitreousError as error:
            raise HTTPException(409, error.line()) from error
        return RedirectResponse(f"/{self._token}/{folder.name}/", status_code=303)


async def _failed(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return Response(f"{error.detail}\n", error.status_code, _HEADERS, "text/plain")


def application(project: Project, token: str, *, allow_jobs: bool = False) -> Starlette:
    """The server's application.

    Parameters
    ----------
    project : Project
    token : str
        First part of every address; without it all is refused (403).
    allow_jobs : bool
        Let jobs be stopped and gone on with.
    """
    served = _Served(project, token, allow_jobs)
    return Starlette(
        routes=[
            Route("/{token}/", served.project),
            Route("/{token}/{folder}/", served.job),
            Route("/{token}/{folder}/{action}", served.act, methods=["POST"]),
            Route("/{token}/{folder}/{path:path}", served.file),
            Route("/{token}", served.refused),
            Route("/{token}/{path:path}", served.refused),
            Route("/", served.refused),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=_HOSTS, www_redirect=False)],
        exception_handlers={HTTPException: _failed},
    )
