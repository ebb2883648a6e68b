"""E-mail through a mail server that really listens: protected, signed in, and what it does not take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from moorage.adapters.mail import Mailer, MailSettings
from moorage.errors import Invalid, Unavailable
from tests.mail import MailServer, mail_server, trusted


def settings(mail: MailServer) -> MailSettings:
    return MailSettings(mail.host, mail.port, "none", "moorage@hub.example")


async def test_everybody_gets_it_and_nobody_sees_the_others() -> None:
    async with mail_server() as mail:
        await Mailer(settings(mail)).send(["ada@example.com", "bob@example.com"], "Too\r\nhot: ä", "It is 31 °C.\n")
        (letter,) = mail.letters
    assert letter.to == ["ada@example.com", "bob@example.com"]
    assert (letter.sender, letter.subject, letter.text.replace("\r\n", "\n")) == (
        "moorage@hub.example",
        "Too hot: ä",
        "It is 31 °C.\n",
    )
    assert "ada" not in str(letter.message["To"]) and "Bcc" not in letter.message
    assert letter.message["Auto-Submitted"] == "auto-generated"


async def test_over_tls_with_a_name_and_a_password(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret word\n")
    async with mail_server(tls=True, password="secret word") as mail:
        safe = replace(
            settings(mail),
            security="tls",
            user="hub",
            password_file=tmp_path / "password",
            ca_bundle=trusted(tmp_path),
        )
        await Mailer(safe).send(["ada@example.com"], "Hot", "Text")
        assert (mail.signed_in, len(mail.letters)) == (["hub"], 1)
        with pytest.raises(Unavailable, match=r"mail\.failed"):
            await Mailer(replace(safe, ca_bundle=None)).send(["ada@example.com"], "Hot", "Text")
    async with mail_server(password="another one") as mail:
        wrong = replace(settings(mail), user="hub", password_file=tmp_path / "password")
        with pytest.raises(Invalid, match=r"mail\.settings") as caught:
            await Mailer(wrong).send(["ada@example.com"], "Hot", "Text")
        assert "secret word" not in str(caught.value)


async def test_what_the_server_does_not_take_is_told_as_what_it_is(tmp_path: Path) -> None:
    async with mail_server(refuses=frozenset({"gone@example.com"})) as mail:
        with pytest.raises(Invalid, match=r"mail\.refused.*gone@example\.com"):
            await Mailer(settings(mail)).send(["gone@example.com"], "Hot", "Text")
        with pytest.raises(Invalid, match=r"mail\.settings"):
            await Mailer(replace(settings(mail), security="starttls")).send(["ada@example.com"], "Hot", "Text")
    with pytest.raises(Unavailable, match=r"mail\.failed"):
        await Mailer(settings(mail)).send(["ada@example.com"], "Hot", "Text")
    with pytest.raises(Invalid, match=r"mail\.settings"):
        await Mailer(replace(settings(mail), host=None)).send(["ada@example.com"], "Hot", "Text")
    unreadable = replace(settings(mail), password_file=tmp_path / "nowhere")
    with pytest.raises(Invalid, match=r"mail\.settings"):
        unreadable.password()


async def test_who_is_refused_among_others_is_named_and_who_is_put_off_is_tried_again() -> None:
    async with mail_server(refuses=frozenset({"gone@example.com"})) as mail:
        mail.puts_off = frozenset({"later@example.com"})
        with pytest.raises(Invalid, match=r"mail\.refused.*not for gone@example\.com"):
            await Mailer(settings(mail)).send(["ada@example.com", "gone@example.com"], "Hot", "Text")
        assert [letter.to for letter in mail.letters] == [["ada@example.com"]]
        with pytest.raises(Unavailable, match=r"mail\.failed.*later@example\.com"):
            await Mailer(settings(mail)).send(["later@example.com"], "Hot", "Text")


@pytest.mark.parametrize(("user", "password"), [("hub", "pässword\n"), ("hüb", "s3cret\n"), ("hub", "\ufeffs3cret\n")])
async def test_a_name_or_password_that_is_not_ascii_is_a_wrong_setting(
    user: str, password: str, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text(password, encoding="utf-8")
    async with mail_server(password="s3cret") as mail:
        wrong = replace(settings(mail), user=user, password_file=tmp_path / "password")
        with pytest.raises(Invalid, match=r"mail\.settings.*ASCII") as caught:
            await Mailer(wrong).send(["ada@example.com"], "Hot", "Text")
        assert password.strip() not in str(caught.value)
        assert mail.letters == []
