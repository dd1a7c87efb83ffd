#!/usr/bin/env python3
"""Two small servers for the demo: a key-value store that speaks Redis' protocol,
and a name server.

Both listen on 127.0.0.1 on free ports. The first line of output is the ports of
the store (TCP) and of the name server (UDP), and one that nginx may listen on.
They end when their standard input does: they cannot outlive the script that
started them.

The store knows PING, ECHO, GET, SET, DEL and INCR, and forgets everything when it
ends. The name server knows the names in NAMES.
"""
import asyncio
import socket
import struct
import sys

MAX_WORDS = 1024
MAX_BULK = 1024 * 1024
STORE = {}

NAMES = {b"cosocket.demo": "192.0.2.10", b"backend.demo": "127.0.0.1"}


class ReplyError(Exception):
    """A mistake of the client's that is answered; the connection goes on."""


class ProtocolError(Exception):
    """Not Redis' protocol: answered, then the connection is closed."""


def bulk(value):
    return b"$-1\r\n" if value is None else b"$%d\r\n%s\r\n" % (len(value), value)


def incr(key):
    try:
        number = int(STORE.get(key, b"0")) + 1
    except ValueError:
        raise ReplyError("ERR value is not an integer or out of range") from None
    STORE[key] = b"%d" % number
    return b":%d\r\n" % number


def store(key, value):
    STORE[key] = value
    return b"+OK\r\n"


def delete(*keys):
    return b":%d\r\n" % sum(STORE.pop(key, None) is not None for key in keys)


# name -> (fewest arguments, most or None, function)
COMMANDS = {
    "PING": (0, 1, lambda text=None: b"+PONG\r\n" if text is None else bulk(text)),
    "ECHO": (1, 1, bulk),
    "GET": (1, 1, lambda key: bulk(STORE.get(key))),
    "SET": (2, 2, store),
    "DEL": (1, None, delete),
    "INCR": (1, 1, incr),
}


def execute(words):
    name = words[0].decode("ascii", "replace").upper()
    if name not in COMMANDS:
        raise ReplyError(f"ERR unknown command '{name}'")
    fewest, most, function = COMMANDS[name]
    given = len(words) - 1
    if given < fewest or (most is not None and given > most):
        raise ReplyError(f"ERR wrong number of arguments for '{name.lower()}' command")
    return function(*words[1:])


async def read_number(reader, prefix, limit):
    line = await reader.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    try:
        number = int(line[1:])
    except ValueError:
        number = -1
    if line[:1] != prefix or not 0 <= number <= limit:
        raise ProtocolError(f"ERR Protocol error: expected '{prefix.decode()}' and a length")
    return number


async def read_command(reader):
    words = []
    for _ in range(await read_number(reader, b"*", MAX_WORDS)):
        length = await read_number(reader, b"$", MAX_BULK)
        words.append((await reader.readexactly(length + 2))[:-2])
    return words


async def serve(reader, writer):
    try:
        while True:
            words = await read_command(reader)
            if not words:
                continue
            try:
                writer.write(execute(words))
            except ReplyError as error:
                writer.write(b"-%s\r\n" % str(error).encode())
            await writer.drain()
    except ProtocolError as error:
        writer.write(b"-%s\r\n" % str(error).encode())
    except (EOFError, ConnectionError, asyncio.LimitOverrunError, ValueError):
        pass  # the client has gone, or sent a line without end
    finally:
        writer.close()


class NameServer(asyncio.DatagramProtocol):
    """Answers questions for addresses (RFC 1035), one a packet."""

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, query, peer):
        labels, at = [], 12
        try:
            while query[at]:
                labels.append(query[at + 1 : at + 1 + query[at]])
                at += 1 + query[at]
        except IndexError:
            return  # not a question
        question = query[12 : at + 5]
        address = NAMES.get(b".".join(labels).lower())
        # A response; code 3 says that there is no such name.
        flags = 0x8180 if address else 0x8183
        reply = query[:2] + struct.pack("!HHHHH", flags, 1, 1 if address else 0, 0, 0) + question
        if address:
            # The name is that of the question; type A, class IN, 60 s, 4 bytes.
            reply += struct.pack("!HHHIH", 0xC00C, 1, 1, 60, 4) + socket.inet_aton(address)
        self.transport.sendto(reply, peer)


def free_port():
    """A port that is free now; somebody else may still take it first."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    names, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        NameServer, local_addr=("127.0.0.1", 0)
    )
    ports = [server.sockets[0].getsockname()[1], names.get_extra_info("sockname")[1], free_port()]
    print(*ports, flush=True)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(
        sys.stdin, lambda: sys.stdin.buffer.read1(1024) or ended.set()
    )
    await ended.wait()


try:
    asyncio.run(main())
except KeyboardInterrupt:
    pass
