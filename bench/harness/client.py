"""A minimal PostgreSQL client: TLS, SCRAM-SHA-256, simple queries. Blocking, one socket each.

Enough to set up the server, to see whether a proxy serves, and to hold thousands of idle logins.
Lacks channel binding, md5 and the extended protocol: pgbench does the loads.
"""
import base64
import functools
import hashlib
import hmac
import os
import socket
import ssl
import struct

SSL_REQUEST = struct.pack("!II", 8, 80877103)


class ClientError(Exception):
    """The server refused, or said what we do not understand."""


@functools.lru_cache(maxsize=64)
def salted_password(password, salt, iterations) -> bytes:
    """PBKDF2 of SCRAM; cached, as a target may use one salt for all logins."""
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)


def digest(key, message) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()


@functools.lru_cache(maxsize=1)
def tls_context() -> ssl.SSLContext:
    """TLS as sslmode=require means it: encrypted, unchecked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def attributes(text) -> dict:
    """`r=..,s=..,i=..` of a SCRAM message."""
    return {part[0]: part[2:] for part in text.split(",")}


class Client:
    """A logged-in connection."""

    def __init__(self, port, user="bench", password="bench", database="bench", tls=False, timeout=60):
        self.buffer = b""
        self.sock = socket.create_connection(("127.0.0.1", port), timeout)
        try:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls:
                self._start_tls()
            self._login(user, password, database)
        except BaseException:
            self.sock.close()
            raise

    def query(self, sql) -> list:
        """Runs a simple query; its rows as lists of text."""
        self._send(b"Q", sql.encode() + b"\0")
        rows, error = [], None
        while True:
            kind, body = self._message(errors=False)
            if kind == b"D":
                rows.append(data_row(body))
            elif kind == b"E":
                error = ClientError(error_text(body))
            elif kind == b"Z":
                if error:
                    raise error
                return rows

    def close(self):
        """Says goodbye and closes."""
        try:
            self._send(b"X", b"")
        except OSError:
            pass
        self.sock.close()

    def _start_tls(self):
        self.sock.sendall(SSL_REQUEST)
        if self.sock.recv(1) != b"S":
            raise ClientError("the server does not offer TLS")
        self.sock = tls_context().wrap_socket(self.sock)

    def _login(self, user, password, database):
        startup = struct.pack("!I", 196608)
        for word in ("user", user, "database", database):
            startup += word.encode() + b"\0"
        startup += b"\0"
        self.sock.sendall(struct.pack("!I", len(startup) + 4) + startup)
        kind, body = self._message()
        if kind == b"R" and body[:4] == b"\0\0\0\x0a":
            self._scram(password)
        elif not (kind == b"R" and body[:4] == b"\0\0\0\0"):
            raise ClientError("the server asked for something else than SCRAM-SHA-256")
        while kind != b"Z":
            kind, _ = self._message()

    def _scram(self, password):
        """RFC 5802 without channel binding."""
        nonce = base64.b64encode(os.urandom(18)).decode()
        bare = f"n=,r={nonce}"
        first = f"n,,{bare}".encode()
        self._send(b"p", b"SCRAM-SHA-256\0" + struct.pack("!I", len(first)) + first)
        server_first = self._sasl(11)
        got = attributes(server_first)
        if not got["r"].startswith(nonce):
            raise ClientError("the server changed our nonce")
        final = f"c=biws,r={got['r']}"
        message = f"{bare},{server_first},{final}".encode()
        salted = salted_password(password, base64.b64decode(got["s"]), int(got["i"]))
        client_key = digest(salted, b"Client Key")
        signature = digest(hashlib.sha256(client_key).digest(), message)
        proof = bytes(a ^ b for a, b in zip(client_key, signature))
        self._send(b"p", f"{final},p={base64.b64encode(proof).decode()}".encode())
        expected = digest(digest(salted, b"Server Key"), message)
        if attributes(self._sasl(12))["v"] != base64.b64encode(expected).decode():
            raise ClientError("the server does not know the password")

    def _sasl(self, step) -> str:
        """The text of the authentication message with this code."""
        kind, body = self._message()
        if kind != b"R" or struct.unpack("!I", body[:4])[0] != step:
            raise ClientError("unexpected message in the SCRAM exchange")
        return body[4:].decode()

    def _send(self, kind, body):
        self.sock.sendall(kind + struct.pack("!I", len(body) + 4) + body)

    def _message(self, errors=True):
        """The next message as (type, body); an ErrorResponse raises unless `errors` is False."""
        while len(self.buffer) < 5 or len(self.buffer) < 1 + struct.unpack("!I", self.buffer[1:5])[0]:
            data = self.sock.recv(65536)
            if not data:
                raise ClientError("the server closed the connection")
            self.buffer += data
        end = 1 + struct.unpack("!I", self.buffer[1:5])[0]
        kind, body, self.buffer = self.buffer[:1], self.buffer[5:end], self.buffer[end:]
        if errors and kind == b"E":
            raise ClientError(error_text(body))
        return kind, body


def data_row(body) -> list:
    """The columns of a DataRow; None for NULL."""
    columns, at = [], 2
    for _ in range(struct.unpack("!H", body[:2])[0]):
        (size,) = struct.unpack("!i", body[at:at + 4])
        at += 4
        columns.append(None if size < 0 else body[at:at + size].decode())
        at += max(size, 0)
    return columns


def error_text(body) -> str:
    """SQLSTATE and message of an ErrorResponse."""
    fields = {part[:1]: part[1:].decode(errors="replace") for part in body.split(b"\0") if part}
    return f"{fields.get(b'C', '?????')} {fields.get(b'M', '')}"
