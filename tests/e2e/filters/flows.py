"""Servers that say who they are, and clients that keep connections open and tell what became of each.

  serve NAME                TCP 8000: the name, then an echo, or N bytes after "get N"
                            UDP 8001: answered with the name, as long as the question
  hold HOST COUNT FILE      keeps COUNT connections until FILE is there; makes FILE.held when all are open
  get HOST COUNT BYTES      COUNT connections at a time with BYTES each
  ask HOST COUNT LEN...     UDP questions of these lengths from each of COUNT ports
  flood HOST NAME           3 MB of UDP to the server NAME from a port that it has answered, when the
                            file `stopped` is there; then makes `flooded`
"""
import asyncio, os, socket, sys, time


async def serve(name):
    async def connection(reader, writer):
        try:
            writer.write(name.encode() + b"\n")
            while data := await reader.read(100):
                if data.startswith(b"get "):
                    data = bytes(int(data[4:]))
                writer.write(data)
                await writer.drain()
        except OSError:
            pass

    class Answers(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            self.transport = transport

        def datagram_received(self, data, address):
            self.transport.sendto(name.encode().ljust(len(data)), address)

    loop = asyncio.get_running_loop()
    host = os.environ.get("BIND", "0.0.0.0")
    await loop.create_datagram_endpoint(Answers, local_addr=(host, 8001))
    server = await asyncio.start_server(connection, host, 8000, backlog=500)
    open(f"up.{name}", "w").close()
    await server.serve_forever()


async def connect(host):
    reader, writer = await asyncio.wait_for(asyncio.open_connection(host, 8000), 20)
    return (await asyncio.wait_for(reader.readline(), 20)).decode().strip(), reader, writer


async def hold(host, count, until):
    opened = 0

    async def one():
        nonlocal opened
        while not os.path.exists(until):
            try:
                name, reader, writer = await connect(host)
            except (OSError, asyncio.TimeoutError):
                await asyncio.sleep(0.2)
                continue
            if not name:
                continue  # it died before it was one
            opened += 1
            if opened == count:
                open(f"{until}.held", "w").close()
            try:
                while not os.path.exists(until):
                    writer.write(b"x")
                    if not await asyncio.wait_for(reader.read(1), 20):
                        raise OSError("closed")
                    await asyncio.sleep(0.5)
                print("kept", name)
            except (OSError, asyncio.TimeoutError) as error:
                print("lost", name, error)
            writer.close()

    await asyncio.gather(*(one() for _ in range(count)))


async def get(host, count, size):
    async def one():
        try:
            name, reader, writer = await connect(host)
            writer.write(f"get {size}".encode())
            got = len(await asyncio.wait_for(reader.readexactly(size), 20))
            print("got", got, "from", name)
            writer.close()
        except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError) as error:
            print("failed", repr(error))

    await asyncio.gather(*(one() for _ in range(count)))


def ask(host, count, *lengths):
    family, kind, _, _, address = socket.getaddrinfo(host, 8001, type=socket.SOCK_DGRAM)[0]
    for _ in range(int(count)):
        with socket.socket(family, kind) as port:
            port.settimeout(20)
            answers = []
            for length in map(int, lengths):
                port.sendto(bytes(length), address)
                answer = port.recv(65536)
                answers.append(f"{answer.decode().strip()}:{len(answer)}")
            print("answers", *answers)


def flood(host, name):
    while True:
        port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        port.settimeout(20)
        port.sendto(bytes(40), (host, 8001))
        if port.recv(100).decode().strip() == name:
            break
    open("found", "w").close()
    while not os.path.exists("stopped"):
        time.sleep(0.05)
    for _ in range(100):
        port.sendto(bytes(30000), (host, 8001))
        time.sleep(0.002)
    open("flooded", "w").close()


role, arguments = sys.argv[1], sys.argv[2:]
if role == "serve":
    asyncio.run(serve(*arguments))
elif role == "hold":
    asyncio.run(hold(arguments[0], int(arguments[1]), arguments[2]))
elif role == "get":
    asyncio.run(get(arguments[0], int(arguments[1]), int(arguments[2])))
elif role == "ask":
    ask(*arguments)
elif role == "flood":
    flood(*arguments)
