"""E-mail by the mail server that the settings name: SMTP (RFC 5321) with submission's ways to protect it.

One message a connection; the standard library's client in a thread, with a time limit on every step. The server is the
operator's to name, in the settings of the machine, so no policy stands before it.
"""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import Final

from moorage.errors import Invalid, Unavailable
from moorage.ids import Secret

__all__ = ["Mailer", "MailSettings"]

_STEP_S: Final = 15.0
_TOTAL_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class MailSettings:
    """`host` is None where no e-mail is sent; `security` is `starttls`, `tls` or `none`."""

    host: str | None
    port: int
    security: str
    sender: str
    user: str = ""
    password_file: Path | None = None
    ca_bundle: Path | None = None

    def password(self) -> Secret:
        """The first line of its file. Raises `Invalid` (`mail.settings`)."""
        if self.password_file is None:
            return Secret("")
        try:
            lines = self.password_file.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise Invalid("mail.settings", f"the mail server's password cannot be read: {error}") from error
        return Secret(lines[0] if lines else "")


class Mailer:
    """Sends plain text."""

    def __init__(self, settings: MailSettings) -> None:
        self._settings = settings

    @property
    def is_set_up(self) -> bool:
        return self._settings.host is not None

    async def send(self, to: Sequence[str], subject: str, text: str) -> None:
        """To each of `to`, none of whom sees the others.

        Raises:
            Invalid: `mail.settings` where no mail server is named, or the settings do not work;
                `mail.refused` when the server does not take the message for good, or not for all of them.
            Unavailable: `mail.failed`; nobody has it then.
        """
        settings = self._settings
        if settings.host is None:
            raise Invalid(
                "mail.settings",
                "no e-mail can be sent, since no mail server is named",
                fix="moorage up --smtp-host mail.example.com",
            )
        message = EmailMessage()
        message["Subject"] = " ".join(subject.split())[:200]
        message["From"] = settings.sender
        message["To"] = "undisclosed-recipients:;"
        message["Date"] = formatdate()
        message["Message-ID"] = make_msgid(domain=settings.sender.rpartition("@")[2] or "localhost")
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(text)
        try:
            async with asyncio.timeout(_TOTAL_S):
                refused = await asyncio.to_thread(self._send, settings.host, list(to), message)
        except smtplib.SMTPAuthenticationError as error:
            raise Invalid("mail.settings", f"{settings.host} does not take the name and password") from error
        except smtplib.SMTPNotSupportedError as error:
            raise Invalid("mail.settings", f"{settings.host}: {error}") from error
        except smtplib.SMTPRecipientsRefused as error:
            told = f"{settings.host} takes nothing for {', '.join(sorted(error.recipients))[:200]}"
            if any(code < 500 for code, _ in error.recipients.values()):
                # For now, that is (RFC 5321 4.2.1): so do servers that want to see a stranger twice.
                raise Unavailable("mail.failed", f"{told} now") from error
            raise Invalid("mail.refused", told) from error
        except smtplib.SMTPResponseException as error:
            told = f"{settings.host} answered {error.smtp_code} {_text(error.smtp_error)}"
            if error.smtp_code >= 500:
                raise Invalid("mail.refused", told) from error
            raise Unavailable("mail.failed", told) from error
        except (OSError, smtplib.SMTPException) as error:
            why = str(error) or type(error).__name__
            raise Unavailable("mail.failed", f"{settings.host}:{settings.port} took nothing: {why[:200]}") from error
        if refused:
            # The others have it, so it is not sent again.
            raise Invalid("mail.refused", f"{settings.host} took it, but not for {', '.join(sorted(refused))[:200]}")

    def _send(self, host: str, to: list[str], message: EmailMessage) -> Mapping[str, object]:
        """Those of them whom the server did not take, while it took others."""
        settings = self._settings
        context = None if settings.security == "none" else self._context()
        client: smtplib.SMTP
        if settings.security == "tls":
            client = smtplib.SMTP_SSL(host, settings.port, timeout=_STEP_S, context=context)
        else:
            client = smtplib.SMTP(host, settings.port, timeout=_STEP_S)
        with client:
            if settings.security == "starttls":
                client.starttls(context=context)
            if settings.user:
                password = settings.password().reveal()
                if not (settings.user + password).isascii():
                    # The library writes both in ASCII, whatever the server would take.
                    raise Invalid(
                        "mail.settings",
                        f"the name or password for {host} holds something that is not ASCII, which cannot be sent",
                    )
                client.login(settings.user, password)
            return client.send_message(message, to_addrs=to)

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self._settings.ca_bundle is not None:
            context.load_verify_locations(self._settings.ca_bundle)
        return context


def _text(answer: bytes | str) -> str:
    text = answer.decode(errors="replace") if isinstance(answer, bytes) else answer
    return " ".join(text.split())[:200]
