"""Starts the one process that serves everything: makes sure of an index and a free port, then runs the web application."""

import logging
import socket
import sys
import threading
import webbrowser

import uvicorn

from bot.logs import start_logging
from bot.settings import Settings
from ingest.cli import BadInput, fail, ingest, write
from ingest.index import IndexMissing, IndexUnreachable, Store

DRAIN_S = 30
"""Seconds that turns under way get to finish after SIGTERM."""


def serve(settings: Settings, *, host: str, port: int, open_browser: bool, root_path: str = "") -> None:
    """Serve until interrupted; builds the index first if there is none.

    Args:
        settings: as read.
        host: address to listen on.
        port: port to listen on.
        open_browser: whether to show the page once it is up.
        root_path: the path that a proxy puts before ours, such as /backtalk.

    Raises:
        BadInput: the port is taken, the root path is none, or there is no index and none can be built.
    """
    root_path = root_path.rstrip("/")
    if root_path and not root_path.startswith("/"):
        raise BadInput(f"--root-path: must begin with /: {root_path!r}")
    _check_port(host, port)
    store = Store(settings.index, url=settings.chroma_url)
    try:
        store.manifest(store.current() or "none")
    except IndexUnreachable as error:
        write(f"{error}; until it does, only safety advice is given.")
    except IndexMissing:
        write("There is no index yet; building it (about a minute the first time).")
        try:
            report, problems = ingest(
                settings.kb, store, model=settings.embedding_model, rebuild=False, reviewed_only=settings.reviewed_only
            )
        except ValueError as error:
            fail(str(error))
        write(f"{report.documents} articles, {len(problems)} notes from vetting, {report.seconds:.0f} s.")
    # pandas, which Gradio imports, takes pyarrow along where Ray brought it: 34 MB that nothing here uses.
    sys.modules.setdefault("pyarrow", None)  # type: ignore[arg-type]
    from bot.api import create_app
    from bot.ui import mount

    app = mount(create_app(settings, root_path=root_path), settings, root_path=root_path)
    url = f"http://{'localhost' if host in ('127.0.0.1', '0.0.0.0', '::') else host}:{port}"
    write(f"Backtalk answers at {url} (Ctrl-C stops it)")
    if open_browser:
        threading.Timer(3.0, webbrowser.open, [url]).start()
    start_logging(settings.log_level)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    uvicorn.run(app, host=host, port=port, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=DRAIN_S)


def _check_port(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise BadInput(f"{host}:{port}: cannot listen there ({error.strerror}); choose another with --port") from error
