"""Python's httpx-sse on our stream: hostile content, and a resume by Last-Event-ID after the connection was cut.

Settings come by environment (`ARAUTO_URL`); each check prints one JSON line; the first failure ends the script.
"""

import json
import os
import socket
import sys
import threading
import time
import traceback
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from httpx_sse import connect_sse

URL = os.environ["ARAUTO_URL"].rstrip("/")
HOSTILE = json.loads((Path(__file__).parent / "lib" / "hostile.json").read_text("utf-8"))
CALL_S = 10
# The stream speaks at least every 25 s, by a heartbeat or a comment.
SILENCE_S = 60
CHECK_S = int(os.environ.get("CHECK_MS", 60_000)) / 1000
WAIT_S = int(os.environ.get("WAIT_MS", 30_000)) / 1000
LONG = 9_000


class Proxy:
    """Stands between the client and the server; `cut` breaks every connection through it."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname, parts.port)
        self._open: set[socket.socket] = set()
        self._refusing = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._refusing = True
        for one in list(self._open):
            _shut(one)

    def mend(self) -> None:
        self._refusing = False

    def close(self) -> None:
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._refusing:
                client.close()
                continue
            server = socket.create_connection(self._target)
            self._open |= {client, server}
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while chunk := source.recv(65536):
                sink.sendall(chunk)
        except OSError:
            pass
        for one in (source, sink):
            _shut(one)
            self._open.discard(one)


def _shut(one: socket.socket) -> None:
    try:
        one.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    one.close()


class Reader(threading.Thread):
    """Reads the stream and comes back by itself, as httpx-sse's own documentation shows: id and retry, nothing more."""

    def __init__(self, token: str, base: str = URL) -> None:
        super().__init__(daemon=True)
        self._token, self._base = token, base
        self._last_id, self._retry_s = "", 1.0
        self._gone = threading.Event()
        self._heard = threading.Condition()
        self.events: list[dict] = []
        self.codings: set[str | None] = set()
        self.start()

    def close(self) -> None:
        self._gone.set()

    def run(self) -> None:
        with httpx.Client(base_url=self._base, timeout=httpx.Timeout(CALL_S, read=SILENCE_S)) as client:
            while not self._gone.is_set():
                try:
                    self._listen(client)
                except httpx.TransportError:
                    pass
                self._gone.wait(self._retry_s)

    def _listen(self, client: httpx.Client) -> None:
        headers = {"authorization": f"Bearer {self._token}"}
        if self._last_id:
            headers["last-event-id"] = self._last_id
        with connect_sse(client, "GET", "/v1/stream", headers=headers) as source:
            source.response.raise_for_status()
            self.codings.add(source.response.headers.get("content-encoding"))
            for event in source.iter_sse():
                self._last_id = event.id or self._last_id
                if event.retry is not None:
                    self._retry_s = event.retry / 1000
                if not event.data:
                    continue
                with self._heard:
                    self.events.append({"event": event.event, "id": event.id, "data": event.json()})
                    self._heard.notify_all()
                if self._gone.is_set():
                    return

    def until(self, what: str, condition, within_s: float = WAIT_S):
        """Waits until `condition(events)` gives something truthy and answers it."""
        with self._heard:
            found = self._heard.wait_for(lambda: condition(self.events), within_s)
        if not found:
            raise AssertionError(f"waited {within_s} s for {what}; heard {[one['event'] for one in self.events]}")
        return found

    def find(self, notification_id: str):
        return self.until("a notification", lambda events: next((one for one in events if _id(one) == notification_id), None))

    def ids(self) -> list[str]:
        return [_id(one) for one in self.events if one["event"] == "notification"]


def _id(one: dict) -> str | None:
    return one["data"]["notification"]["id"] if one["event"] == "notification" else None


def call(method: str, path: str, token: str | None = None, body: object = None) -> httpx.Response:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return httpx.request(method, URL + path, headers=headers, json=body, timeout=CALL_S)


def mint(sub: str, role: str = "CIDADAO") -> str:
    body = {"sub": sub, "roles": [role], "units": [], "benefits": [], "ttl_seconds": 3600}
    return call("POST", "/dev/token", body=body).raise_for_status().json()["token"]


def publish(draft: dict) -> str:
    full = {"type": "sistema.comunicado", "priority": "normal", "body": "", **draft}
    answer = call("POST", "/v1/notifications", mint("svc-web-tests", "SERVICE"), full)
    assert answer.status_code == 201, f"POST /v1/notifications answered {answer.status_code}: {answer.text}"
    return answer.json()["id"]


def series(sub: str, stem: str, count: int) -> list[str]:
    return [publish({"audience": {"users": [sub]}, "title": f"{stem} {n}"}) for n in range(1, count + 1)]


def somebody(stem: str) -> str:
    return f"{stem}-{uuid.uuid4().hex[:8]}"


def receives_hostile_content_unharmed() -> None:
    sub = somebody("hostile-py")
    token = mint(sub)
    reader = Reader(token)
    reader.until("ready", lambda events: events)
    data = {**HOSTILE["data"], "long": "x" * LONG + "😀", "long too": "é" * (LONG // 3)}
    draft = {"audience": {"users": [sub]}, "title": HOSTILE["title"], "body": HOSTILE["body"], "data": data}
    notification_id = publish(draft)
    got = reader.find(notification_id)["data"]["notification"]
    assert got["data"] == data, f"data came back changed: {got['data']!r}"
    assert got["title"] == draft["title"], f"title came back changed: {got['title']!r}"
    kept = call("GET", f"/v1/notifications/{notification_id}", token).json()["notification"]
    assert got == kept, f"stream and inbox differ: {got!r} {kept!r}"
    last = publish({"audience": {"users": [sub]}, "title": "the end"})
    reader.find(last)
    heard = [_id(one) or one["event"] for one in reader.events if one["event"] != "heartbeat"]
    assert heard == ["ready", notification_id, last], f"the stream held something else: {heard}"
    reader.close()


def resumes_by_last_event_id_after_its_connection_is_cut() -> None:
    sub = somebody("cut-py")
    wire = Proxy(URL)
    reader = Reader(mint(sub), wire.url)
    reader.until("ready", lambda events: events)
    expected: list[str] = []
    for stem in ("before the first event", "later"):
        wire.cut()
        expected += series(sub, f"cut {stem}", 3)
        wire.mend()
        reader.until(f"{len(expected)} notifications", lambda _: len(reader.ids()) >= len(expected))
    expected += series(sub, "live again", 1)
    reader.find(expected[-1])
    assert reader.ids() == expected, f"not exactly what was published, in order, once: {reader.ids()} {expected}"
    assert reader.codings == {"gzip"}, f"not compressed: {reader.codings}"
    assert not any(one["event"] == "reset" for one in reader.events), "a reset that lost nothing"
    reader.close()
    wire.close()


def main() -> int:
    for check in (receives_hostile_content_unharmed, resumes_by_last_event_id_after_its_connection_is_cut):
        name, started = f"httpx_sse_{check.__name__}", time.monotonic()
        line = {"check": name, "ok": True}
        guard = threading.Timer(CHECK_S, lambda: os._exit(_late(name)))
        guard.daemon = True
        guard.start()
        try:
            check()
        except Exception as error:  # noqa: BLE001 - whatever it was, the check failed
            line |= {"ok": False, "error": str(error)}
            traceback.print_exc()
        guard.cancel()
        print(json.dumps({**line, "ms": round((time.monotonic() - started) * 1000)}), flush=True)
        if not line["ok"]:
            return 1
    return 0


def _late(name: str) -> int:
    print(json.dumps({"check": name, "ok": False, "error": f"not done after {CHECK_S} s"}), flush=True)
    print(f"{name}: not done after {CHECK_S} s", file=sys.stderr, flush=True)
    return 1


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
