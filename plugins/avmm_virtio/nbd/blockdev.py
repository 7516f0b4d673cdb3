"""Disks that an NBD server has: any format that nbdkit or qemu-nbd can serve."""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from socket import socket
from typing import Final

from avmm.plugin import get_logger
from avmm_virtio.block.blockdev import SECTOR, Blockdev, BlockRequest, Operation
from avmm_virtio.nbd.connection import NbdConnection
from avmm_virtio.nbd.handshake import connect
from avmm_virtio.nbd.order import Order, orders_of
from avmm_virtio.nbd.pieces import cut, paste
from avmm_virtio.nbd.protocol import Command, NbdError, Transmission
from avmm_virtio.nbd.uri import NbdUri
from avmm_virtio.virtqueue import Virtqueue
from avmm_virtio.wakeup import Wakeup

MAX_CONNECTIONS: Final = 16

Sleep = Callable[[float], Awaitable[None]]


class NbdBlockdev(Blockdev):
    """An export. While the server is away requests fail; the disk comes back when the server does.

    Data crosses guest memory on the event loop, by copying with the device lock held.
    """

    def __init__(
        self,
        name: str,
        uri: NbdUri,
        *,
        read_only: bool = False,
        discard: bool = True,
        connections: int = 1,
        reconnect_s: float = 1.0,
        timeout_s: float = 30.0,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """Connects, which blocks for up to 10 seconds; NbdError when that fails or the export cannot be this disk.

        `connections` (1 to 16) are used as far as the server allows several; after a loss it tries again every `reconnect_s`
        seconds, 0 for never. A server that owes answers and gives none for `timeout_s` seconds (twice that at most) is lost;
        0 is for waiting without an end.
        """
        self._uri, self._reconnect_s, self._timeout_s, self._sleep = uri, reconnect_s, timeout_s, sleep
        self._wanted = connections
        self._log = get_logger(disk=name)
        first, self._export = connect(uri)
        flags = self._export.flags
        self._sockets = [first]
        self.capacity = self._export.size // SECTOR * SECTOR
        self.read_only = read_only or bool(flags & Transmission.READ_ONLY)
        self.can_discard = discard and not self.read_only and bool(flags & Transmission.SEND_TRIM)
        self.can_write_zeroes = not self.read_only and bool(flags & Transmission.SEND_WRITE_ZEROES)
        self.block_size = self.physical_block_size = max(SECTOR, self._export.minimum_block)
        self._may_unmap = discard
        self._connections: list[NbdConnection] = []
        self._waiting: deque[BlockRequest] = deque()
        self._left: dict[BlockRequest, int] = {}
        """Requests under way, and how many of their commands are not answered."""
        self._wakeup = Wakeup()
        self._away = False
        self._flush_next: deque[BlockRequest] = deque()
        """Requests that the server has carried out and now has to make durable, because it knows no FUA."""
        self._written = self._flushed = 0
        """Requests completed that changed the disk, and how many of them a flush covers."""
        self._lost_writes = False
        """Some of them a server had that is gone: the next flush fails."""
        self.losses = 0
        """Times the server was lost."""
        try:
            self._export.check(uri, read_only=read_only)
        except NbdError:
            first.close()
            raise

    # With the device lock held, any thread.

    def submit(self, request: BlockRequest) -> bool:
        if self._away:
            request.error, request.views = errno.ESHUTDOWN, ()
            return True
        if request.operation is Operation.FLUSH and not self._export.flags & Transmission.SEND_FLUSH:
            self._end_flush(request, self._written)  # a server without a cache
            return True
        self._waiting.append(request)
        self._wakeup.set()
        return False

    def abandon(self, queue: Virtqueue) -> Sequence[BlockRequest]:
        dropped = [request for request in self._waiting if request.queue is queue]
        for request in dropped:
            self._waiting.remove(request)
        for request in self._left:
            if request.queue is queue:
                request.views = ()  # looked at with the lock held only: nothing goes there any more
        return dropped

    def _end_flush(self, request: BlockRequest, written: int) -> None:
        """A flush cannot speak for writes that a server took with it: it says so, once. It covers the first `written`."""
        if self._lost_writes:
            request.error = errno.EIO
        self._lost_writes = False
        self._flushed = max(self._flushed, written)

    # The event loop's side.

    async def run(self) -> None:
        try:
            while True:
                try:
                    await self._serve()
                except NbdError as error:
                    self._lost(str(error))
                if not self._reconnect_s:
                    await asyncio.get_running_loop().create_future()
                await self._come_back()
        finally:
            self._fail_all()
            for each in self._sockets:
                each.close()

    async def _serve(self) -> None:
        """Until one connection is lost, and all with it: what is under way may have been on any."""
        await self._connect_more()
        self._connections = [NbdConnection(each, self._export) for each in self._sockets]
        self._sockets.clear()
        ready = asyncio.Barrier(len(self._connections) + 1)
        # No task group: one whose task fails while it is cancelled itself forgets that it was (Python 3.11).
        tasks = [asyncio.create_task(connection.run(ready)) for connection in self._connections]
        tasks.append(asyncio.create_task(self._dispatch(ready)))
        if self._timeout_s:
            tasks += (asyncio.create_task(self._wait_for_answers(connection)) for connection in self._connections)
        try:
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in ended:
            task.result()

    async def _wait_for_answers(self, connection: NbdConnection) -> None:
        """Until the server gives none, which NbdError tells."""
        while True:
            owed, answers = connection.waiting, connection.answers
            await self._sleep(self._timeout_s)
            if owed and connection.answers == answers:
                raise NbdError(f"no answer for {self._timeout_s:g} s")

    async def _connect_more(self) -> None:
        allowed = self._wanted if self._export.flags & Transmission.CAN_MULTI_CONN else 1
        while len(self._sockets) < allowed:
            with suppress(NbdError):  # fewer do as well
                self._sockets.append((await asyncio.to_thread(connect, self._uri))[0])
                continue
            return

    async def _dispatch(self, ready: asyncio.Barrier) -> None:
        await ready.wait()
        while True:
            await self._wakeup.wait()
            while (taken := self._next()) is not None:
                request, orders = taken
                if not orders:
                    self._complete(request)
                for order in orders:
                    await self._send(request, order)

    def _next(self) -> tuple[BlockRequest, list[Order]] | None:
        """The next request, and the commands it comes to."""
        with self._receiver.lock:
            if self._flush_next:
                request = self._flush_next.popleft()
                orders = [Order(Command.FLUSH, done=lambda order: self._answered(request, order))]
            elif self._waiting:
                request = self._waiting.popleft()
                orders = self._orders(request)
            else:
                return None
            self._left[request] = len(orders)
            return request, orders

    async def _send(self, request: BlockRequest, order: Order) -> None:
        if order.command is Command.WRITE:
            with self._receiver.lock:
                order.data = cut(request.views, order.offset - request.offset, order.size)
            if not order.data:  # abandoned meanwhile
                self._answered(request, order)
                return
        await min(self._connections, key=lambda connection: connection.waiting).send(order)

    def _orders(self, request: BlockRequest) -> list[Order]:
        if request.operation is Operation.FLUSH:
            request.offset = self._written  # what is completed by now it covers
        return list(
            orders_of(
                request,
                self._export,
                may_unmap=self._may_unmap,
                store=lambda at, data: self._store(request, at, data),
                done=lambda order: self._answered(request, order),
            )
        )

    def _store(self, request: BlockRequest, at: int, data: bytes) -> None:
        with self._receiver.lock:
            paste(request.views, at, data)

    def _answered(self, request: BlockRequest, order: Order) -> None:
        request.error = request.error or order.error
        self._left[request] -= 1
        if self._left[request]:
            return
        flags = self._export.flags & (Transmission.SEND_FUA | Transmission.SEND_FLUSH)
        if request.durable and order.command is not Command.FLUSH and flags == Transmission.SEND_FLUSH and not request.error:
            self._flush_next.append(request)
            self._wakeup.set()
        else:
            self._complete(request)

    def _complete(self, request: BlockRequest) -> None:
        del self._left[request]
        request.views = ()
        match request.operation:
            case Operation.FLUSH if not request.error:
                self._end_flush(request, request.offset)
            case Operation.WRITE | Operation.DISCARD | Operation.WRITE_ZEROES if not request.durable:
                self._written += 1
            case _:
                pass
        self._receiver.completed((request,))

    # The server goes and comes.

    def _lost(self, why: str) -> None:
        self.losses += 1
        self._log.warning("disk's server lost", server=str(self._uri), error=why, reconnect_s=self._reconnect_s)
        self._fail_all()

    def _fail_all(self) -> None:
        """What is under way fails, and what comes from now on."""
        with self._receiver.lock:
            self._away = True
            self._lost_writes |= self._written != self._flushed
            self._flushed = self._written
            failed = [*self._waiting, *self._left]
            for mine in (self._waiting, self._flush_next, self._left):
                mine.clear()
            for request in failed:
                request.error, request.views = errno.ESHUTDOWN, ()
        self._receiver.completed(failed)

    async def _come_back(self) -> None:
        told = ""
        while not self._sockets:
            await self._sleep(self._reconnect_s)
            try:
                self._sockets.append(await asyncio.to_thread(self._connect_again))
            except NbdError as error:
                if str(error) != told:
                    told = str(error)
                    self._log.warning("disk's server not reached", error=told)
        self._log.info("disk's server is back", server=str(self._uri))
        with self._receiver.lock:
            self._away = False
        self.refresh()

    def _connect_again(self) -> socket:
        """A thread of its own: nobody else looks at the export while the server is away."""
        connection, export = connect(self._uri)
        try:
            export.check_same(self._export, self._uri, read_only=self.read_only, block_size=self.block_size)
        except NbdError:
            connection.close()
            raise
        self._export = export
        return connection

    def refresh(self) -> None:
        capacity = self._export.size // SECTOR * SECTOR
        if capacity != self.capacity:
            self.capacity = capacity
            self._receiver.capacity_changed()
