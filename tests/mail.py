"""A mail server for tests: a real socket, real TLS where it is asked for, and it keeps what it was sent.

async with mail_server() as mail:               # mail.host, mail.port
    ...
    mail.letters[-1].to, mail.letters[-1].text
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

from tests.callees import server_context, server_root

__all__ = ["Letter", "MailServer", "mail_server", "trusted"]


@dataclass(frozen=True)
class Letter:
    sender: str
    to: list[str]
    message: EmailMessage

    @property
    def subject(self) -> str:
        return str(self.message["Subject"])

    @property
    def text(self) -> str:
        return str(self.message.get_content())


@dataclass
class MailServer:
    """`refuses` are recipients that it does not take, `puts_off` such that it does not take now; `password` is
    asked for when there is one."""

    host: str = "127.0.0.1"
    port: int = 0
    password: str = ""
    refuses: frozenset[str] = frozenset()
    puts_off: frozenset[str] = frozenset()
    letters: list[Letter] = field(default_factory=list)
    signed_in: list[str] = field(default_factory=list)


@asynccontextmanager
async def mail_server(
    *, tls: bool = False, password: str = "", refuses: frozenset[str] = frozenset()
) -> AsyncIterator[MailServer]:
    mail = MailServer(password=password, refuses=refuses)
    talking: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_talk(mail, reader, writer))
        talking.add(task)
        await asyncio.wait({task})
        talking.discard(task)
        writer.transport.abort()

    context = server_context([mail.host]) if tls else None
    server = await asyncio.start_server(serve, mail.host, 0, ssl=context)
    mail.port = server.sockets[0].getsockname()[1]
    try:
        yield mail
    finally:
        server.close()
        await server.wait_closed()
        for task in talking:
            task.cancel()
        await asyncio.gather(*talking, return_exceptions=True)
        for _ in range(20):
            await asyncio.sleep(0)


async def _talk(mail: MailServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    sender, to, is_known = "", list[str](), not mail.password
    writer.write(b"220 mail.example ESMTP\r\n")
    while line := (await reader.readline()).decode().strip():
        verb = line.split(" ")[0].upper()
        answer = "250 fine"
        match verb:
            case "EHLO":
                answer = "250-mail.example\r\n250 AUTH PLAIN" if mail.password else "250 mail.example"
            case "AUTH":
                _, name, password = base64.b64decode(line.split(" ")[2]).decode().split("\0")
                is_known = password == mail.password
                mail.signed_in.append(name)
                answer = "235 come in" if is_known else "535 no"
            case "MAIL":
                sender, to = line[len("MAIL FROM:") :].split(">")[0].strip("< "), []
                answer = "250 fine" if is_known else "530 who are you"
            case "RCPT":
                whom = line[len("RCPT TO:") :].split(">")[0].strip("< ")
                answer = "550 nobody here" if whom in mail.refuses else "250 fine"
                answer = "450 come again" if whom in mail.puts_off else answer
                to += [whom] if answer.startswith("250") else []
            case "DATA":
                writer.write(b"354 go on\r\n")
                data = (await reader.readuntil(b"\r\n.\r\n"))[:-3]
                message = message_from_bytes(data, policy=policy.default)
                mail.letters.append(Letter(sender, to, message))
            case "QUIT":
                writer.write(b"221 bye\r\n")
                return
        writer.write(f"{answer}\r\n".encode())


def trusted(folder: Path) -> Path:
    """A file with the CA of servers with TLS."""
    file = folder / "mail-ca.pem"
    file.write_text(server_root().certificate.pem)
    return file
