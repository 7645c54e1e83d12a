# Two connections of libvdeplug's in one process, at the two ends of one FIFO.
import ctypes, os, select, sys, time

vde = ctypes.CDLL("libvdeplug.so.2", use_errno=True)
vde.vde_open_real.restype = ctypes.c_void_p
buffer = ctypes.create_string_buffer(9234)
frame = b"\xff" * 12 + b"\x88\xb5" + bytes(range(100))


def connect():
    connection = vde.vde_open_real(b"stdpkt://fifo", b"a test", 1, None)
    assert connection, os.strerror(ctypes.get_errno())
    return ctypes.c_void_p(connection)


def receive(ends):
    """What the first of them gets; the others are seen to meanwhile."""
    while True:
        ready, _, _ = select.select([vde.vde_datafd(end) for end in ends], [], [])
        for end in ends:
            if vde.vde_datafd(end) in ready:
                length = vde.vde_recv(end, buffer, len(buffer), 0)
                if length >= 14 and end is ends[0]:
                    return buffer.raw[:length]


def exchange(a, b, last):
    for sender, receiver in (a, b), (b, a):
        sent = frame + bytes([last])
        assert vde.vde_send(sender, sent, len(sent), 0) == len(sent)
        assert receive([receiver, sender]) == sent


def ended(pid):
    assert os.waitpid(pid, 0)[1] == 0


def both(last):
    a, b = connect(), connect()
    exchange(a, b, last)
    return a, b


def again():
    for round in range(20):
        a, b = both(round)
        assert vde.vde_close(a) == 0 and vde.vde_close(b) == 0


def child_closes():
    a, b = both(1)
    pid = os.fork()
    if pid == 0:
        vde.vde_send(a, frame, len(frame), 0)  # is lost: the link is the parent's
        vde.vde_close(a)
        vde.vde_close(b)
        os._exit(0)
    ended(pid)
    exchange(a, b, 2)


def child_goes_on():
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        a, b = both(1)
        parent = os.getpid()
        if os.fork() > 0:
            os._exit(0)
        while os.getppid() == parent:  # until then the link is the parent's
            time.sleep(0.001)
        exchange(a, b, 2)
        os.write(writer, b"done")
        os._exit(0)
    os.close(writer)
    ended(pid)
    assert os.read(reader, 4) == b"done"


globals()[sys.argv[1]]()
