"""The sending half of the worker's socket.

Owns what was not sent yet. Frames leave from the calling thread as long as the socket takes them, so that a
step's events cost one system call and no thread switch; what does not fit is left to a thread of its own, so
that a server which reads slowly does not stop the engine. Any thread may send.
"""

import contextlib
import socket
import threading

from llmatic.core.priority import nice_this_thread

MAX_PENDING_BYTES = 256 * 1024 * 1024


class FrameWriter:
    """Sends whole frames in the order of the calls to `send`."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._pending = bytearray()
        self._broken = False
        self._wake = threading.Condition()
        threading.Thread(target=self._drain, name="llmatic-writer", daemon=True).start()

    def send(self, frame: bytes) -> None:
        """Send or queue one frame. Once the server is gone frames are dropped: the process is about to end.

        Raises BufferError when more than MAX_PENDING_BYTES wait, which means that the server is stuck.
        """
        with self._wake:
            if self._broken:
                return
            sent = 0 if self._pending else self._try_send(frame)
            if sent == len(frame):
                return
            if len(self._pending) + len(frame) > MAX_PENDING_BYTES:
                raise BufferError("the server does not read what the engine writes")
            self._pending += memoryview(frame)[sent:]
            self._wake.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything was handed to the kernel; False if it was not in time."""
        with self._wake:
            return self._wake.wait_for(lambda: not self._pending or self._broken, timeout_s)

    def _try_send(self, data: bytes) -> int:
        try:
            return self._sock.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0
        except OSError:
            self._broken = True
            return len(data)

    def _drain(self) -> None:
        nice_this_thread()
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._pending)
                chunk = bytes(self._pending[: 256 * 1024])
            try:
                sent = self._sock.send(chunk)  # blocks until the server has read some
            except OSError:
                with self._wake, contextlib.suppress(BufferError):
                    self._broken = True
                    self._pending.clear()
                    self._wake.notify_all()
                return
            with self._wake:
                del self._pending[:sent]
                self._wake.notify_all()
