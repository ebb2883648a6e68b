"""What pages about certificates show as code, run as it stands."""

from __future__ import annotations

from moorage.accounts.model import OWNER
from tests import certs
from tests.servers.world import World
from tests.web.browser import Browser
from tests.web.shown_as_code import Shell, replays
from tests.web.test_certificates import COMPANY, GROUP, OTHER, fleet, held, registered, rehearse

__all__ = ["fleet"]


@replays(
    "POST /certificates/rehearsal",
    "POST /certificates/rolls",
    "POST /certificates/rolls/{group_id}/undo",
    "POST /certificates/ca-rolls/{name}/undo",
    "POST /certificates/chains",
    "POST /groups/auto-approve",
)
async def test_a_roll_is_rehearsed_done_and_undone(fleet: World, browser: Browser, shell: Shell) -> None:
    (shell.folder / "root_cert.pem").write_text(OTHER.certificate.pem)
    (shell.folder / "device_cert.pem").write_text(certs.device(COMPANY, "p9").certificate.pem)
    page = "/certificates/rehearsal"
    assert '"stranded":4' in (await shell.paste(page, "Rehearse", "curl")).replace(" ", "")
    rehearsed = await rehearse(browser, OTHER.certificate.pem)
    assert '"stranded":4' in (await shell.paste(page, "Rehearse", "Python", page=rehearsed)).replace(" ", "")
    assert held(fleet) == [COMPANY.certificate.subject]
    await shell.paste(page, "Roll it now", "curl", page=rehearsed)
    assert held(fleet) == [OTHER.certificate.subject]
    await shell.paste(f"/certificates/rolls/{GROUP}", "Undo", "Python")
    assert held(fleet) == [COMPANY.certificate.subject]

    await fleet.connect("by-hand", await fleet.create_by_authority("by-hand", ca=COMPANY))
    rehearsed = await rehearse(browser, OTHER.certificate.pem, group="ca: plant")
    assert '"stranded":1' in (await shell.paste(page, "Rehearse", "curl", page=rehearsed)).replace(" ", "")
    await shell.paste(page, "Roll it now", "Python", page=rehearsed)
    assert registered(fleet) == OTHER.certificate
    await shell.paste("/certificates/ca-rolls/plant", "Undo", "curl")
    assert registered(fleet) == COMPANY.certificate

    assert GROUP in await shell.paste("/certificates/chains", "Judge it", "curl")

    devices = fleet.app.application.fleet
    text = shell.read(await browser.open("/groups"), "Save", "curl")
    await devices.set_auto_approve(OWNER, not devices.auto_approve())
    before = devices.auto_approve()
    await shell.run(text, "curl")
    assert devices.auto_approve() is not before
    await shell.paste("/groups", "Save", "Python")
    assert devices.auto_approve() is not before
