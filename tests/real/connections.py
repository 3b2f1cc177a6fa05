"""Real TCP connections between pods: what takes them, and what tries them."""

LISTEN = """
import asyncio, sys

async def main():
    address, *ports = sys.argv[1:]
    servers = [await asyncio.start_server(lambda _, w: w.close(), address, int(port)) for port in ports]
    await asyncio.gather(*(server.serve_forever() for server in servers))

asyncio.run(main())
"""
"""A Python program: takes connections at an address (`0.0.0.0`: all of its own), on each of the ports."""
CONNECT = """
import json, re, socket, sys
from concurrent.futures import ThreadPoolExecutor

def reached(place):
    host, port = place
    try:
        if host == "dns":  # a name over UDP, then the same server over TCP
            socket.getaddrinfo("kubernetes.default.svc.cluster.local", 443)
            host = re.search(r"nameserver (\\S+)", open("/etc/resolv.conf").read())[1]
        socket.create_connection((host, port), 5).close()
        return True
    except OSError:
        return False

places = json.loads(sys.argv[1])
with ThreadPoolExecutor(len(places)) as together:
    print(json.dumps(list(together.map(reached, places))))
"""
"""A Python program: which of `[[host, port], …]` take a connection, as a JSON list of booleans."""
